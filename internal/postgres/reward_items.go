package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// errNotGivable: the catalog has changed so that what was promised can't be given.
var errNotGivable = errors.New("the reward cannot be given")

func (w *lockedWindow) oweItems(ctx context.Context, q *sqlc.Queries, now time.Time) (sqlc.TaskReward, error) {
	items, err := json.Marshal(w.task.Reward.Items)
	if err != nil {
		return sqlc.TaskReward{}, err
	}
	part, err := q.OweItems(ctx, sqlc.OweItemsParams{
		RewardID:  rewardID(w.WindowID, rewardItems),
		WindowID:  w.WindowID,
		ProjectID: w.ProjectID,
		UserID:    w.UserID,
		TaskID:    w.TaskID,
		Items:     items,
		Now:       now,
	})
	if err != nil {
		return part, fmt.Errorf("owe items: %w", err)
	}
	return part, nil
}

// giveItems puts the items of a window's reward into the user's inventory, if they are owed. What can't be
// given, such as a non-consumable that the user has, is refused for good and listed for the admins, who may
// replay it.
func (db *DB) giveItems(ctx context.Context, windowID string, now time.Time) error {
	result := contract.RewardResult{Status: contract.RewardDelivered}
	err := db.inTx(ctx, func(q *sqlc.Queries) error { return giveOwedItems(ctx, q, windowID, result, now) })
	var refused *RefusedChangeError
	switch {
	case errors.As(err, &refused):
		result = contract.RewardResult{Status: contract.RewardRefused, Code: string(refused.Refusal.Code), Message: refused.Error()}
	case errors.Is(err, errNotGivable):
		result = contract.RewardResult{Status: contract.RewardRefused, Code: "item_not_givable", Message: err.Error()}
	case err != nil:
		return fmt.Errorf("give items: %w", err)
	default:
		return nil
	}
	return db.RecordReward(ctx, rewardID(windowID, rewardItems), result, now)
}

func giveOwedItems(ctx context.Context, q *sqlc.Queries, windowID string, result contract.RewardResult, now time.Time) error {
	parts, err := q.ListRewardsOfWindow(ctx, windowID)
	if err != nil {
		return err
	}
	owed := slices.IndexFunc(parts, func(p sqlc.TaskReward) bool {
		return p.Kind == rewardItems && p.Status == string(contract.RewardPending)
	})
	if owed < 0 {
		return nil
	}
	giving, err := givingOf(ctx, q, parts[owed])
	if err != nil {
		return err
	}
	// The window is locked before the inventory, as everywhere.
	if err := recordReward(ctx, q, parts[owed].RewardID, result, now); err != nil {
		return err
	}
	return giveGrants(ctx, q, giving, now)
}

// givingOf unfolds the items by the catalog as it is now.
func givingOf(ctx context.Context, q *sqlc.Queries, part sqlc.TaskReward) (Giving, error) {
	giving := Giving{
		ProjectID: part.ProjectID,
		UserID:    part.UserID,
		Reference: "reward/" + part.RewardID,
		Source:    SourceReward,
		Snapshots: map[string]catalog.Item{},
	}
	project, err := q.GetProject(ctx, part.ProjectID)
	if err != nil {
		return giving, err
	}
	if giving.Zone, err = time.LoadLocation(project.TimeZone); err != nil {
		return giving, fmt.Errorf("project %d: %w", part.ProjectID, err)
	}
	rows, err := q.ListCatalogItems(ctx, part.ProjectID)
	if err != nil {
		return giving, err
	}
	all := make([]catalog.Item, len(rows))
	for i, row := range rows {
		if all[i], err = itemOf(row); err != nil {
			return giving, err
		}
		giving.Snapshots[all[i].SKU] = all[i]
	}
	var items []tasks.ItemReward
	if err := json.Unmarshal(part.Items, &items); err != nil {
		return giving, fmt.Errorf("items of reward %s: %w", part.RewardID, err)
	}
	shop := catalog.New(all, nil)
	for _, item := range items {
		found, ok := shop.Item(item.SKU)
		if !ok {
			return giving, fmt.Errorf("%w: %s is not in the catalog", errNotGivable, item.SKU)
		}
		grants, err := shop.Unfold(found, item.Quantity)
		if err != nil {
			return giving, fmt.Errorf("%w: %w", errNotGivable, err)
		}
		for _, grant := range grants {
			grant.ID = item.SKU + grant.ID // two items may contain the same
			giving.Grants = append(giving.Grants, grant)
		}
	}
	return giving, nil
}
