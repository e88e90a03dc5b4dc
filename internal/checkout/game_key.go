package checkout

import (
	"slices"

	"github.com/quickpass/quickpass/internal/catalog"
)

// HasGameKeys says whether the lines give any game key, also in bundles.
func HasGameKeys(lines []OrderLine) bool {
	return slices.ContainsFunc(lines, func(l OrderLine) bool { return l.Type == catalog.GameKey || partHasGameKeys(l.Content) })
}

func partHasGameKeys(content []Part) bool {
	return slices.ContainsFunc(content, func(p Part) bool { return p.Type == catalog.GameKey || partHasGameKeys(p.Content) })
}
