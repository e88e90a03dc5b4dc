package tasks

import (
	"strings"
	"unicode/utf8"
)

func printable(s string, min, max int) bool {
	n := 0
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return false
		}
		n++
	}
	return n >= min && n <= max && strings.TrimSpace(s) == s
}

const maxShown = 200 // bytes of a value in a decision

// shorten keeps decisions small: a value comes from the sender and may be of any length.
func shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	cut := maxShown
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}
