package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/tasks"
)

// TaskWindow closes one user's window of a task when its time is up, and rewards it when it was completed
// (seed 001). PostgreSQL decides what the window is: each wake, by the timer or by a signal, only makes it
// look. So no signal that is lost or doubled matters.
//
// A cancellation of the run, by an operator, does not end the window: what is owed is still given or listed as
// undelivered, and the sweep starts another run when there is something to do.
func TaskWindow(ctx workflow.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
	w := &taskWindow{in: in, changed: workflow.GetSignalChannel(ctx, contract.ChangedSignal)}
	settled, err := w.run(ctx)
	if err == nil || ctx.Err() == nil {
		return settled, err
	}
	w.leaving = true
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	return w.run(ctx)
}

type taskWindow struct {
	in      contract.TaskWindowInput
	changed workflow.ReceiveChannel
	leaving bool // the run is canceled: it waits for nothing more
	visible bool // the search attributes have told of trouble
}

func (w *taskWindow) run(ctx workflow.Context) (contract.SettledWindow, error) {
	for {
		settled, err := settleWindow(ctx, w.in)
		switch {
		case err != nil:
			return settled, err
		case settled.Until != nil && w.leaving:
			return settled, temporal.NewCanceledError("the window stays open until " + settled.Until.Format(time.RFC3339))
		case settled.Until != nil:
			err = w.wait(ctx, *settled.Until)
		case settled.Reward != nil:
			err = w.deliver(ctx, *settled.Reward)
			settled.Reward = nil
		default:
			workflow.SetCurrentDetails(ctx, "**"+string(settled.State)+"**")
		}
		if err != nil {
			return settled, err
		}
		// What was signalled while the reward was under way may be the replay of another part.
		if told := drain(w.changed); settled.Until == nil && !told {
			return settled, nil
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return settled, workflow.NewContinueAsNewError(ctx, contract.TaskWindowWorkflow, w.in)
		}
	}
}

// wait ends when the window closes or somebody has changed it.
func (w *taskWindow) wait(ctx workflow.Context, until time.Time) error {
	workflow.SetCurrentDetails(ctx, "**open**, closes at "+until.Format(time.RFC3339))
	awaitChange(ctx, w.changed, until.Add(tasks.CloseJitter(w.in.WindowID)), "until the window closes")
	return ctx.Err()
}

// deliver asks the main product for its part and writes down what became of it, whatever that is.
func (w *taskWindow) deliver(ctx workflow.Context, reward contract.RewardInput) error {
	gift := reward.Amount.String() + " " + reward.RewardType
	workflow.SetCurrentDetails(ctx, "**completed**, waiting for the main product's "+gift)
	result, err := deliverReward(ctx, reward, gift)
	switch {
	case err != nil && ctx.Err() != nil:
		result = contract.RewardResult{
			Status:  contract.RewardUndelivered,
			Code:    "canceled_by_operator",
			Message: "the run of the window was canceled while the main product was asked",
		}
	case err != nil:
		result = rewardResultOf(err)
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**completed**, %s: %s %s", gift, result.Status, result.Code))
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	if err := w.show(ctx, result); err != nil {
		return err
	}
	return recordReward(ctx, contract.RecordRewardInput{RewardID: reward.RewardID, Result: result})
}

// show makes a reward that was not delivered findable in Temporal UI. One that was never pays for this.
func (w *taskWindow) show(ctx workflow.Context, result contract.RewardResult) error {
	if result.Status == contract.RewardDelivered && !w.visible {
		return nil
	}
	w.visible = true
	reason := searchReason.ValueUnset()
	if result.Code != "" {
		reason = searchReason.ValueSet(result.Code)
	}
	return workflow.UpsertTypedSearchAttributes(ctx, searchState.ValueSet("reward_"+string(result.Status)), reason)
}

// rewardResultOf reads the result that a failed delivery carries; a timeout by Temporal carries none.
func rewardResultOf(err error) contract.RewardResult {
	var failed *temporal.ApplicationError
	var carried contract.RewardResult
	if isType(err, contract.ErrorTypeMainProduct) && errors.As(err, &failed) && failed.Details(&carried) == nil {
		return carried
	}
	return contract.RewardResult{
		Status:  contract.RewardUndelivered,
		Code:    "no_report",
		Message: "the calls to the main product brought no report",
	}
}
