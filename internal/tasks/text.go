package tasks

import (
	"unicode/utf8"
)

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
