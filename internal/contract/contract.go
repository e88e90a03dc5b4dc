// Package contract holds what the client, the workflows and the activities must agree on: names,
// ids, inputs and results. Names and JSON fields are recorded in histories: add, never rename.
package contract

import "time"

// Task queues. Our own database answers fast; the main product may hang, so its calls wait in a queue of
// their own and starve nobody. What buyers wait for, purchases and orders, is in TaskQueue; what may come in
// thousands in one moment, and nobody waits for, has queues of its own with few slots.
const (
	TaskQueue            = "quickpass"
	MainProductTaskQueue = "quickpass-main-product"
	WindowTaskQueue      = "quickpass-windows" // of TaskWindow
	TimerTaskQueue       = "quickpass-timers"  // of Subscription, Perk and WebhookDelivery
)

// ChangedSignal wakes the run of a window, an order, a subscription, a delivery of a webhook or a bulk replay
// whose row has changed in the database. It carries nothing, because the row decides.
const ChangedSignal = "changed"

// FirstDeliveryBound is how long the first call to the main product may hold the workflow task: below
// its heartbeat at 8 s (80 % of the 10 s task timeout), so that a slow answer costs no history.
const FirstDeliveryBound = 7 * time.Second

// Search attributes, registered at start: few, because each costs a write in the visibility store.
const (
	SearchUser   = "QuickPassUser"
	SearchSKU    = "QuickPassSKU"
	SearchState  = "QuickPassState"
	SearchReason = "QuickPassReason"
)
