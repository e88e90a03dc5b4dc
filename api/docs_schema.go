package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// sample makes an example of a schema out of the examples of its parts.
func sample(schema *openapi3.Schema) any {
	switch {
	case schema.Example != nil:
		return schema.Example
	case schema.Default != nil:
		return schema.Default
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case schema.Nullable:
		return nil
	case len(schema.AllOf) > 0:
		return sample(schema.AllOf[0].Value)
	case schema.Type.Is("object"):
		object := map[string]any{}
		for name, property := range schema.Properties {
			object[name] = sample(property.Value)
		}
		return object
	case schema.Type.Is("array"):
		return []any{sample(schema.Items.Value)}
	case schema.Type.Is("boolean"):
		return false
	case schema.Type.Is("integer"), schema.Type.Is("number"):
		return 1
	case schema.Format == "date-time":
		return "2026-01-31T12:00:00Z"
	default:
		return "text"
	}
}

func pretty(value any) string {
	encoded, _ := json.MarshalIndent(value, "", "  ") // examples of the document are JSON
	return string(encoded)
}

// fieldsOf lists a body's fields, nested ones by their path.
func fieldsOf(prefix string, schema *openapi3.Schema) []docsParameter {
	var fields []docsParameter
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := schema.Properties[name].Value
		fields = append(fields, docsParameter{
			Name:     prefix + name,
			Type:     typeOf(property),
			Required: slices.Contains(schema.Required, name),
			About:    prose(property.Description),
		})
		fields = append(fields, fieldsOf(prefix+name+".", property)...)
	}
	return fields
}

// typeOf says in a few words what a value may be.
func typeOf(schema *openapi3.Schema) string {
	words := []string{strings.Join(schema.Type.Slice(), " or ")}
	if len(schema.OneOf) > 0 {
		words[0] = "number or string"
	}
	if schema.Format == "date-time" {
		words[0] = "time (RFC 3339)"
	}
	if schema.Min != nil && schema.Max != nil {
		words = append(words, fmt.Sprintf("%.0f to %.0f", *schema.Min, *schema.Max))
	}
	if schema.MaxLength != nil {
		words = append(words, fmt.Sprintf("up to %d characters", *schema.MaxLength))
	}
	if schema.Pattern != "" {
		words = append(words, "matching "+schema.Pattern)
	}
	if len(schema.Enum) > 0 {
		words = append(words, "one of "+strings.Trim(fmt.Sprint(schema.Enum), "[]"))
	}
	if schema.Default != nil {
		words = append(words, fmt.Sprintf("default %v", schema.Default))
	}
	return strings.Join(words, ", ")
}
