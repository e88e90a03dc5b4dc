// Package tasks holds the rules of tasks (seed 001): what a task asks for, which events count, when a window
// begins and ends, and what it pays. It does no I/O and has no clock.
package tasks

import (
	"time"

	"github.com/shopspring/decimal"
)

// Status says whether a task is offered.
type Status string

const (
	Draft     Status = "draft"
	Published Status = "published"
)

// Task is one version of a task's definition, such as "Make 5 bets of 100+ rubles per day". An edit makes a new
// version and changes no window that is already open.
type Task struct {
	TaskID      int64             `json:"-"`
	Version     int64             `json:"-"` // grows by one with each edit; its ETag
	Status      Status            `json:"status"`
	PublishedAt *time.Time        `json:"-"` // since when it has been offered; nil while it is a draft
	UpdatedAt   time.Time         `json:"-"`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	EventType   string            `json:"event_type"`
	MinAmount   *decimal.Decimal  `json:"min_amount,omitempty"` // an event of less does not count
	Equals      map[string]string `json:"equals,omitempty"`     // fields of the event that must be equal, as text
	Condition   string            `json:"condition,omitempty"`  // CEL over the event; empty: true
	Count       Count             `json:"count"`
	Target      decimal.Decimal   `json:"target"` // whole for all modes but sum
	Window      WindowRule        `json:"window"`
	Activation  Activation        `json:"activation"`
	Recurring   bool              `json:"recurring"`           // a new window follows each that has ended
	Requires    []int64           `json:"requires,omitempty"`  // tasks that the user must have completed: the chain
	StartsAt    *time.Time        `json:"starts_at,omitempty"` // of the campaign, inclusive; nil: from publication
	EndsAt      *time.Time        `json:"ends_at,omitempty"`   // of the campaign, exclusive: no window ends later; nil: never
	Audience    Audience          `json:"audience"`
	Reward      Reward            `json:"reward"`
	Budget      Budget            `json:"budget"`
}

// Mode says what is counted.
type Mode string

const (
	CountEvents   Mode = "events"
	CountSum      Mode = "sum"      // of Count.Field over the events
	CountDistinct Mode = "distinct" // different values of Count.Field
	CountStreak   Mode = "streak"   // days in a row, in the window's zone and from its reset hour, with at least one event
)

// Count says what is counted, and in which field of the event.
type Count struct {
	Mode  Mode   `json:"mode"`
	Field string `json:"field,omitempty"` // of sum (amount if empty) and distinct
}

// Kind of a window.
type Kind string

const (
	Calendar Kind = "calendar" // the day, week (from Monday) or month of the zone that the activation falls into
	Rolling  Kind = "rolling"  // so long from the activation on
)

// Unit of a window's length.
type Unit string

const (
	Day   Unit = "day"
	Week  Unit = "week"
	Month Unit = "month"
)

// WindowRule says how long a user has. Days, weeks and months are calendar units of the zone: a day with a change
// of clocks has 23 or 25 hours, and a month from the 31st ends on the last day of a shorter month.
type WindowRule struct {
	Kind         Kind   `json:"kind"`
	Unit         Unit   `json:"unit"`
	TimeZone     string `json:"time_zone,omitempty"`  // IANA; UTC if empty
	ResetHour    int    `json:"reset_hour,omitempty"` // of calendar windows and of a streak's days: 0 to 23
	GraceSeconds int    `json:"grace_seconds"`        // how late an event of the window may arrive after its end; negative: the default
}

// Activation says how a window begins.
type Activation string

const (
	Manual    Activation = "manual"    // the user activates it
	Automatic Activation = "automatic" // for everybody who may see it, with their first event that counts
)

// Audience says who may see the task. Empty is everybody.
type Audience struct {
	VIP        bool              `json:"vip,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"` // of the user, each must be equal
	UserIDs    []string          `json:"user_ids,omitempty"`
}

// Reward of one completed window.
type Reward struct {
	Coins       int64              `json:"coins,omitempty"`
	MainProduct *MainProductReward `json:"main_product,omitempty"`
	Items       []ItemReward       `json:"items,omitempty"`
}

// ItemReward is a thing of the project's catalog that goes into the user's inventory; of a bundle, what it contains.
type ItemReward struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// MainProductReward is what the main product is asked to give (seed 001, "Main Product Reward Processing").
type MainProductReward struct {
	RewardType string          `json:"reward_type"`
	Amount     decimal.Decimal `json:"amount"`
}

// Budget bounds what a task may pay in coins; 0 is no bound.
type Budget struct {
	TotalCoins int64 `json:"total_coins,omitempty"`
	PerUser    int64 `json:"per_user,omitempty"`
}
