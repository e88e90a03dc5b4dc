package catalog

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// Text by locale, such as {"en": "Gold", "pt-BR": "Ouro"}.
type Text map[string]string

// fallbackLocale is what the API that clients know takes when none is asked for.
const fallbackLocale = "en"

// In is the text in the locale or the nearest there is: "pt-BR", then "pt", then "en", then the project's default,
// then the first by the locale's name.
func (t Text) In(locale, projectDefault string) string {
	if tag, err := language.Parse(locale); err == nil {
		locale = tag.String()
	}
	for wanted := locale; wanted != ""; {
		if text, ok := t[wanted]; ok {
			return text
		}
		cut := strings.LastIndexByte(wanted, '-')
		wanted = wanted[:max(cut, 0)]
	}
	for _, wanted := range []string{fallbackLocale, projectDefault} {
		if text, ok := t[wanted]; ok {
			return text
		}
	}
	if locales := slices.Sorted(maps.Keys(t)); len(locales) > 0 {
		return t[locales[0]]
	}
	return ""
}

// validLocale accepts a locale in its canonical form, so that no text is stored where it is not found again.
func validLocale(locale string) bool {
	tag, err := language.Parse(locale)
	return err == nil && tag != language.Und && tag.String() == locale
}

// validCountry accepts the two capital letters of a country that exists.
func validCountry(country string) bool {
	region, err := language.ParseRegion(country)
	return err == nil && len(country) == 2 && region.IsCountry() && region.Canonicalize().String() == country
}
