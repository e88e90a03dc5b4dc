package contract

import "time"

// Names of the workflow that tells a user of the end of a perk, and of its activity.
const (
	PerkWorkflow    = "Perk"
	EndPerkActivity = "EndPerk"
)

// PerkWorkflowID is unique for an unbroken stretch of a perk, named by its first order: orders that extend it
// start no workflow of their own.
func PerkWorkflowID(orderID string) string { return "perk/" + orderID }

// PerkInput names the perk; until when it lasts is in the database, where it may be extended.
type PerkInput struct {
	ProjectID int32  `json:"project_id"`
	OrderID   string `json:"order_id"` // the first of the stretch
	UserID    string `json:"user_id"`
	Kind      string `json:"kind"`
}

// PerkEnd is the answer of EndPerk.
type PerkEnd struct {
	Until *time.Time `json:"until,omitempty"` // set: it goes on until then
}
