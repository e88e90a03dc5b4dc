package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// wonWindow is a shop with a completed window of the seed's task, settled as far as the main product's part.
func wonWindow(t *testing.T, userID string) (*shop, *activities.TaskWindow, contract.RewardInput) {
	t.Helper()
	s := &shop{t: t, db: testkit.Database(t), product: testkit.NewMainProduct(t)}
	testkit.AddUser(t, s.db, userID, 0)
	testkit.StoreTask(t, s.db, testkit.FiveBets())
	now := time.Now()
	testkit.StoreWindow(t, s.db, tasks.Window{
		WindowID:    "tw_1",
		UserID:      userID,
		TaskID:      123,
		Version:     1,
		ActivatedAt: now.Add(-time.Hour),
		EndsAt:      now.Add(time.Hour),
		State:       tasks.Completed,
		CompletedAt: &now,
	})
	a := &activities.TaskWindow{DB: s.db, Product: s.product.Client(t, false)}
	settled, err := run[contract.SettledWindow](t, a.SettleWindow, contract.TaskWindowInput{
		ProjectID: testkit.Project,
		WindowID:  "tw_1",
		UserID:    userID,
		TaskID:    123,
	})
	require.NoError(t, err)
	require.Equal(t, tasks.Completed, settled.State)
	return s, a, *settled.Reward
}

func (s *shop) reward(id string) postgres.Reward {
	s.t.Helper()
	rewards, err := s.db.Rewards(s.t.Context(), testkit.Project, postgres.RewardFilter{Limit: 10})
	require.NoError(s.t, err)
	for _, reward := range rewards {
		if reward.RewardID == id {
			return reward
		}
	}
	s.t.Fatalf("no reward %s", id)
	return postgres.Reward{}
}

func TestRewardIsDeliveredAndRecorded(t *testing.T) {
	t.Parallel()
	s, a, in := wonWindow(t, buyer)
	result, err := run[contract.RewardResult](t, a.DeliverReward, in)
	require.NoError(t, err)
	entry, _ := s.product.Books().Entry(in.RewardID)
	require.Equal(t, []any{contract.RewardDelivered, entry.TransactionID, "100"}, []any{result.Status, result.TransactionID, result.NewBalance.String()})
	require.NoError(t, a.RecordReward(t.Context(), contract.RecordRewardInput{RewardID: in.RewardID, Result: result}))
	reward := s.reward(in.RewardID)
	require.Equal(t, []any{contract.RewardDelivered, 1, entry.TransactionID}, []any{reward.Status, reward.Calls, reward.TransactionID})
	testkit.RequireWallet(t, s.db, buyer, 50, 0)
	testkit.RequireClean(t, s.db)

	again, err := run[contract.RewardResult](t, a.DeliverReward, in)
	require.NoError(t, err)
	require.Equal(t, contract.RewardResult{Status: contract.RewardDelivered}, again, "it is not asked for again")
	s.product.RequireCalls(t, in.RewardID, 1, 1)
}

func TestRewardIsRefused(t *testing.T) {
	t.Parallel()
	s, a, in := wonWindow(t, "ghost")
	result, err := run[contract.RewardResult](t, a.DeliverReward, in)
	require.NoError(t, err, "a refusal is not retried")
	require.Equal(t, contract.RewardResult{Status: contract.RewardRefused, Code: fake.CodeUserNotFound, Message: "User not found"}, result)
	s.product.RequireCalls(t, in.RewardID, 1, 0)
}

// Without a final answer it fails, is retried under the same key, and the reward is given once.
func TestRewardWithoutAFinalAnswerIsRetried(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		behaviour fake.Behaviour
		code      string
	}{
		"5xx":                   {fake.Behaviour{Kind: fake.ErrorStatus}, "server_error"},
		"drop":                  {fake.Behaviour{Kind: fake.Drop}, "connection_lost"},
		"given, answer dropped": {fake.Behaviour{Kind: fake.Drop, CreditFirst: true}, "connection_lost"},
		"garbage":               {fake.Behaviour{Kind: fake.Garbage, CreditFirst: true}, "unintelligible_answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a, in := wonWindow(t, buyer)
			test.behaviour.On = fake.OnReward
			s.product.Misbehave(t, test.behaviour)
			_, err := run[contract.RewardResult](t, a.DeliverReward, in)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, err, &failed)
			require.False(t, failed.NonRetryable())
			require.Equal(t, contract.ErrorTypeMainProduct, failed.Type())
			require.Equal(t, temporal.ApplicationErrorCategoryBenign, failed.Category())
			var carried contract.RewardResult
			require.NoError(t, failed.Details(&carried))
			require.Equal(t, []any{contract.RewardUndelivered, test.code}, []any{carried.Status, carried.Code})

			s.product.Misbehave(t)
			result, err := run[contract.RewardResult](t, a.DeliverReward, in)
			require.NoError(t, err)
			require.Equal(t, contract.RewardDelivered, result.Status)
			s.product.RequireCalls(t, in.RewardID, 2, 1)
			require.Equal(t, 2, s.reward(in.RewardID).Calls)
		})
	}
}

// While the database is away nobody knows whether the reward is still owed: nothing is sent.
func TestRewardIsNotAskedForWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s, a, in := wonWindow(t, buyer)
	a.DB = awayDatabase(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := a.DeliverReward(ctx, in)
	var failed *temporal.ApplicationError
	require.ErrorAs(t, err, &failed)
	var carried contract.RewardResult
	require.NoError(t, failed.Details(&carried))
	require.Equal(t, "not_sent", carried.Code)
	s.product.RequireCalls(t, in.RewardID, 0, 0)
}

// What is not there will not appear: these fail for good, and with them the workflow, which is a bug and seen.
func TestStepsOfAWindowThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, a, in := wonWindow(t, buyer)
	in.RewardID = "tw_9.main_product"
	_, settleErr := a.SettleWindow(t.Context(), contract.TaskWindowInput{WindowID: "tw_9"})
	_, deliverErr := a.DeliverReward(t.Context(), in)
	recordErr := a.RecordReward(t.Context(), contract.RecordRewardInput{
		RewardID: in.RewardID,
		Result:   contract.RewardResult{Status: contract.RewardRefused},
	})
	for _, err := range []error{settleErr, deliverErr, recordErr} {
		var failed *temporal.ApplicationError
		require.ErrorAs(t, err, &failed)
		require.True(t, failed.NonRetryable())
	}
}
