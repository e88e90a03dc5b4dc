package activities_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/mainproduct"
)

// held is a call that answers when it is told to.
type held struct {
	started atomic.Int32
	answers chan mainproduct.Answer
}

func newHeld() *held { return &held{answers: make(chan mainproduct.Answer)} }

func (h *held) do(context.Context) mainproduct.Answer {
	h.started.Add(1)
	return <-h.answers
}

// unused fails the test when it is called.
func unused(t *testing.T) func(context.Context) mainproduct.Answer {
	return func(context.Context) mainproduct.Answer {
		t.Error("a second call was made")
		return mainproduct.Answer{}
	}
}

var unknown = mainproduct.Answer{Kind: mainproduct.Unknown, Reason: mainproduct.ReasonTimeout, MaybeCredited: true}

func TestCallsOfOneKeyAreOne(t *testing.T) {
	t.Parallel()
	calls, first := activities.NewCalls(), newHeld()
	const callers = 100
	var group sync.WaitGroup
	got := make([]*activities.Call, callers)
	for i := range callers {
		group.Go(func() { got[i] = calls.Start("qp_1", time.Hour, first.do) })
	}
	group.Wait()
	for _, call := range got {
		require.Same(t, got[0], call)
	}
	require.Same(t, got[0], calls.Find("qp_1"))
	first.answers <- credited
	<-got[0].Done()
	require.EqualValues(t, 1, first.started.Load())
	require.Equal(t, credited, calls.Take("qp_1", got[0]))
	require.Nil(t, calls.Find("qp_1"), "what was taken is forgotten")
}

func TestCallsOfTwoKeysAreTwo(t *testing.T) {
	t.Parallel()
	calls, first, second := activities.NewCalls(), newHeld(), newHeld()
	a := calls.Start("qp_1", time.Hour, first.do)
	b := calls.Start("qp_2", time.Hour, second.do)
	second.answers <- unknown
	<-b.Done()
	require.Equal(t, unknown, calls.Take("qp_2", b))
	require.Same(t, a, calls.Find("qp_1"), "the other goes on")
	first.answers <- credited
	<-a.Done()
	require.Equal(t, credited, calls.Take("qp_1", a))
}

// An answer that nobody has taken makes another call needless; one that is none does not.
func TestUnclaimedAnswerIsKeptAndFailureReplaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer   mainproduct.Answer
		replaced bool
	}{
		"credited": {credited, false},
		"refused":  {mainproduct.Answer{Kind: mainproduct.Refused, Code: "USER_NOT_FOUND"}, false},
		"unknown":  {unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls, first := activities.NewCalls(), newHeld()
			call := calls.Start("qp_1", time.Hour, first.do)
			first.answers <- c.answer
			<-call.Done()
			if !c.replaced {
				require.Same(t, call, calls.Start("qp_1", time.Hour, unused(t)))
				return
			}
			second := newHeld()
			again := calls.Start("qp_1", time.Hour, second.do)
			require.NotSame(t, call, again)
			require.Equal(t, c.answer, calls.Take("qp_1", call), "whoever waited for the first gets its answer")
			require.Same(t, again, calls.Find("qp_1"), "and does not make the second forgotten")
			second.answers <- credited
			<-again.Done()
		})
	}
}

// The call's own deadline bounds it, whatever became of the activity that started it.
func TestCallEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	calls := activities.NewCalls()
	before := time.Now()
	call := calls.Start("qp_1", time.Millisecond, func(ctx context.Context) mainproduct.Answer {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.False(t, deadline.Before(before.Add(time.Millisecond)))
		<-ctx.Done()
		return unknown
	})
	<-call.Done()
	require.False(t, call.Deadline().Before(before.Add(time.Millisecond)))
	require.Equal(t, unknown, calls.Take("qp_1", call))
}

func TestWaitReturnsWhenNothingIsInFlight(t *testing.T) {
	t.Parallel()
	calls := activities.NewCalls()
	calls.Wait(t.Context()) // nothing ever was

	first := newHeld()
	call := calls.Start("qp_1", time.Hour, first.do)
	waited := make(chan struct{})
	go func() {
		calls.Wait(context.WithoutCancel(t.Context()))
		close(waited)
	}()
	select {
	case <-waited:
		require.Fail(t, "it did not wait for the call")
	default:
	}
	first.answers <- credited
	<-waited
	<-call.Done()
	require.Equal(t, credited, calls.Take("qp_1", call), "the answer can be taken after all have stopped")
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	calls, first := activities.NewCalls(), newHeld()
	calls.Start("qp_1", time.Hour, first.do)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls.Wait(ctx)
	first.answers <- credited
}
