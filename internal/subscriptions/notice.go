package subscriptions

import "time"

// Told is of which expiry a user was told what. An expiry that has moved since is another one.
type Told struct {
	Reminded *time.Time // that it comes
	Ended    *time.Time // that it has passed
}

// Notice is what to tell a user about a subscription now, and when to look again.
type Notice struct {
	Remind bool
	End    bool
	Until  *time.Time // nil: there is nothing more to tell, unless somebody changes the subscription
}

// Notice decides what is due, at most once for each expiry: the reminder so long before it, and the end. A
// reminder whose time was missed until the expiry is left out.
func (s Subscription) Notice(lead time.Duration, told Told, now time.Time) Notice {
	switch s.Status(now) {
	case None:
		return Notice{}
	case Expired:
		return Notice{End: !sameInstant(told.Ended, s.ExpiresAt)}
	default:
		remindAt := s.ReminderAt(lead)
		switch {
		case remindAt == nil || sameInstant(told.Reminded, s.ExpiresAt):
			return Notice{Until: s.ExpiresAt}
		case now.Before(*remindAt):
			return Notice{Until: remindAt}
		default:
			return Notice{Remind: true, Until: s.ExpiresAt}
		}
	}
}

func sameInstant(a, b *time.Time) bool { return a != nil && b != nil && a.Equal(*b) }
