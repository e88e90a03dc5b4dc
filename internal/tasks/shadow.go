package tasks

import (
	"maps"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// Shadow counts stored events of a period for a task that nobody has seen yet: who would have completed it,
// and what that would have cost. It is offered in the period and only then, whatever its campaign's times;
// each user activates a manual task as early as possible; events arrive at once. Not safe for concurrent use.
type Shadow struct {
	task     Task
	from, to time.Time
	counting counting
	report   ShadowReport
	users    map[string]*ShadowUser
}

// ShadowReport is what would have been.
type ShadowReport struct {
	Events      int64          // that were looked at
	Decisions   map[Code]int64 // how often each; events of users who could not take part have none
	Users       int64          // with an event that counted
	Completed   []ShadowUser   // who would have completed it, by id
	Completions int64
	Coins       int64           // that would have been paid, within the budget
	OverBudget  int64           // completions whose coins the budget would have refused
	MainProduct decimal.Decimal // amount that the main product would have been asked for
}

// ShadowUser is one user of a report.
type ShadowUser struct {
	UserID      string
	Completions int64
	Coins       int64
}

// NewShadow begins a shadow run over the period from inclusive to exclusive. An error is a condition that
// does not compile.
func NewShadow(t Task, from, to time.Time) (*Shadow, error) {
	from, to = wholeSeconds(from), to.UTC()
	t.Status, t.PublishedAt, t.StartsAt, t.EndsAt = Published, &from, nil, &to
	catalog, err := NewCatalog([]Task{t})
	if err != nil {
		return nil, err
	}
	return &Shadow{
		task:  t,
		from:  from,
		to:    to,
		users: map[string]*ShadowUser{},
		counting: counting{
			Batch: Batch{Catalog: catalog, Windows: map[string][]Window{}, NewWindowID: func() string { return "" }},
			users: map[string]*userWindows{},
		},
		report: ShadowReport{Decisions: map[Code]int64{}},
	}, nil
}

// Count takes the next events, in the order in which they happened, with the users of those that exist.
// Events outside of the period are left out.
func (s *Shadow) Count(users map[string]User, events []Event) {
	s.counting.Users = users
	for i := range events {
		if at := events[i].OccurredAt; events[i].Type == s.task.EventType && !at.Before(s.from) && at.Before(s.to) {
			s.count(&events[i])
		}
	}
}

func (s *Shadow) count(e *Event) {
	s.report.Events++
	s.activate(e.UserID)
	s.counting.Now = e.OccurredAt
	for _, decision := range s.counting.event(e) {
		s.report.Decisions[decision.Code]++
		if decision.Code == Counted {
			s.counted(e)
		}
	}
}

// activate a manual task for a user who is seen for the first time.
func (s *Shadow) activate(userID string) {
	user, known := s.counting.Users[userID]
	_, seen := s.counting.users[userID]
	if !known || seen || s.task.Activation == Automatic || !s.task.Admits(user) || len(s.task.Missing(user)) > 0 {
		return
	}
	if anchor := s.task.anchorOf(user); anchor.Before(s.to) {
		s.counting.Windows[userID] = []Window{s.task.open(userID, anchor, anchor, nil)}
	}
}

func (s *Shadow) counted(e *Event) {
	user := s.users[e.UserID]
	if user == nil {
		user = &ShadowUser{UserID: e.UserID}
		s.users[e.UserID] = user
	}
	if containing(s.counting.users[e.UserID].windows, e.OccurredAt).State != Completed {
		return
	}
	user.Completions++
	s.report.Completions++
	if part := s.task.Reward.MainProduct; part != nil {
		s.report.MainProduct = s.report.MainProduct.Add(part.Amount)
	}
	coins, budget := s.task.Reward.Coins, s.task.Budget
	if !budget.Allows(s.report.Coins, user.Coins, coins) {
		s.report.OverBudget++
		return
	}
	user.Coins += coins
	s.report.Coins += coins
}

// Allows says whether so many coins may be paid after what was spent, in total and on this user.
func (b Budget) Allows(spent, spentOnUser, coins int64) bool {
	return (b.TotalCoins == 0 || spent+coins <= b.TotalCoins) && (b.PerUser == 0 || spentOnUser+coins <= b.PerUser)
}

// Report of all events so far.
func (s *Shadow) Report() ShadowReport {
	report := s.report
	report.Decisions = maps.Clone(report.Decisions)
	report.Users = int64(len(s.users))
	report.Completed = nil
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		if user := s.users[id]; user.Completions > 0 {
			report.Completed = append(report.Completed, *user)
		}
	}
	return report
}
