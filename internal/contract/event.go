package contract

import "time"

// Names of the upkeep of stored events.
const (
	EventUpkeepWorkflow      = "EventUpkeep"
	EventPartitionsActivity  = "KeepEventPartitions"
	ForgetEventKeysActivity  = "ForgetEventKeys"
	EventUpkeepSchedule      = "schedule/event-upkeep" // the id of the schedule and of its workflows
	EventUpkeepInterval      = time.Hour
	EventPartitionsMadeAhead = 7 // days
)

// EventUpkeep says what one look at the stored events did.
type EventUpkeep struct {
	PartitionsMade    int   `json:"partitions_made"`
	PartitionsDropped int   `json:"partitions_dropped"`
	KeysForgotten     int64 `json:"keys_forgotten"`
}
