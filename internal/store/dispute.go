package store

// DisputeState is where a dispute about an order stands.
type DisputeState string

const (
	DisputeOpen     DisputeState = "open"
	DisputeInReview DisputeState = "in_review"
	DisputeResolved DisputeState = "resolved"
	DisputeRejected DisputeState = "rejected"
)

// DecideDispute tells whether a dispute may move on to another state. One that is closed can only be taken
// into review again, so that a changed mind shows.
func DecideDispute(from, to DisputeState) *Refusal {
	closed := from == DisputeResolved || from == DisputeRejected
	if from == to || !closed || to == DisputeInReview {
		return nil
	}
	return refuse(DisputeClosed, "the dispute is "+string(from)+"; take it into review again first")
}
