package activities

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Events holds the upkeep of stored events.
type Events struct {
	DB        *postgres.DB
	Retention time.Duration // of events and their keys, from when they were received
}

// KeepPartitions makes the partitions of the coming days and drops those that are past keeping.
func (a *Events) KeepPartitions(ctx context.Context) (contract.EventUpkeep, error) {
	now := time.Now()
	made, dropped, err := a.DB.KeepEventPartitions(ctx, contract.EventPartitionsMadeAhead, now.Add(-a.Retention), now)
	return contract.EventUpkeep{PartitionsMade: made, PartitionsDropped: dropped}, classify(err)
}

// ForgetKeys drops the keys of events that are past keeping, and says how many. What a try has dropped stays
// dropped when it is cut short; the next goes on from there.
func (a *Events) ForgetKeys(ctx context.Context) (forgotten int64, err error) {
	for more := true; more; {
		var keys int64
		if keys, more, err = a.DB.ForgetEventKeys(ctx, time.Now().Add(-a.Retention)); err != nil {
			return forgotten, classify(err)
		}
		forgotten += keys
	}
	return forgotten, nil
}
