// Package optional writes values that may be missing.
package optional

// Text is nil for an empty text, which is null in JSON and NULL in SQL.
func Text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
