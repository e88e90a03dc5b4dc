package catalog

import (
	"cmp"
	"fmt"
	"slices"
)

// Group of items, a node in the project's tree of groups.
type Group struct {
	ExternalID       string `json:"external_id"`
	Name             Text   `json:"name"`
	Description      Text   `json:"description,omitempty"`
	ImageURL         string `json:"image_url,omitempty"`
	Order            int    `json:"order"` // among its siblings, the lowest first
	ParentExternalID string `json:"parent_external_id,omitempty"`
	IsEnabled        bool   `json:"is_enabled"` // one that is off hides what is below it, too
}

// AllGroups is the external id that lists every item; no group can have it.
const AllGroups = "all"

// ShownGroup is a group in one language, with those below it.
type ShownGroup struct {
	ExternalID       string       `json:"external_id"`
	Name             string       `json:"name"`
	Description      string       `json:"description"`
	ImageURL         *string      `json:"image_url"`
	Order            int          `json:"order"`
	Level            int          `json:"level"` // 0 at the top
	ParentExternalID *string      `json:"parent_external_id"`
	Children         []ShownGroup `json:"children"`
}

// ShowGroups shows the tree of the groups that are on.
func (c *Catalog) ShowGroups(view View) []ShownGroup {
	below := map[string][]Group{}
	for _, group := range c.groups {
		below[group.ParentExternalID] = append(below[group.ParentExternalID], group)
	}
	return showBelow("", 0, below, view)
}

func showBelow(parent string, level int, below map[string][]Group, view View) []ShownGroup {
	shown := []ShownGroup{}
	slices.SortFunc(below[parent], func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ExternalID, b.ExternalID))
	})
	for _, group := range below[parent] {
		if group.IsEnabled {
			shown = append(shown, ShownGroup{
				ExternalID:       group.ExternalID,
				Name:             view.in(group.Name),
				Description:      view.in(group.Description),
				ImageURL:         orNull(group.ImageURL),
				Order:            group.Order,
				Level:            level,
				ParentExternalID: orNull(parent),
				Children:         showBelow(group.ExternalID, level+1, below, view),
			})
		}
	}
	return shown
}

// GroupIsOn says whether a group exists and neither it nor one above it is off.
func (c *Catalog) GroupIsOn(externalID string) bool {
	for range maxGroupLevels {
		group, ok := c.groups[externalID]
		if !ok || !group.IsEnabled {
			return false
		}
		if group.ParentExternalID == "" {
			return true
		}
		externalID = group.ParentExternalID
	}
	return false
}

const (
	maxGroupLevels = 5
	maxGroups      = 1000
)

// ValidateGroups lists every mistake in the groups of a project at once.
func ValidateGroups(groups []Group) []FieldError {
	var found mistakes
	found.check(len(groups) <= maxGroups, "groups", "at most 1,000 groups")
	byID := map[string]Group{}
	for i, group := range groups {
		field := fmt.Sprintf("groups[%d].", i)
		_, twice := byID[group.ExternalID]
		found.check(!twice, field+"external_id", "another group has it")
		found.check(externalIDPattern.MatchString(group.ExternalID) && group.ExternalID != AllGroups, field+"external_id", externalIDRule+`, and not "all"`)
		found.text(group.Name, field+"name", 1, 200)
		found.text(group.Description, field+"description", 0, 2000)
		found.check(validURL(group.ImageURL, true), field+"image_url", urlRule)
		found.check(group.Order >= 0 && group.Order <= maxOrder, field+"order", orderRule)
		byID[group.ExternalID] = group
	}
	for i, group := range groups {
		field := fmt.Sprintf("groups[%d].parent_external_id", i)
		_, exists := byID[group.ParentExternalID]
		found.check(group.ParentExternalID == "" || exists, field, "a group that exists")
		found.check(levelsAbove(group, byID) < maxGroupLevels, field, "at most 5 levels, and no group within itself")
	}
	return found
}

func levelsAbove(group Group, byID map[string]Group) int {
	levels := 0
	for group.ParentExternalID != "" && levels < maxGroupLevels {
		parent, ok := byID[group.ParentExternalID]
		if !ok {
			break
		}
		group = parent
		levels++
	}
	return levels
}
