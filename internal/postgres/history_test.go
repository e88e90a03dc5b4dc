package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	s.addUser("other", 100)
	order := s.reserve("buyer")
	s.capture(s.reserve("other"), 1)
	s.clock = s.clock.Add(time.Minute)
	s.release(order, 1)
	s.clock = s.clock.Add(time.Minute)
	s.resolve(s.resolution(order, store.ResolveMarkDelivered))
	s.clock = s.clock.Add(time.Minute)
	_, err := s.RefundOrder(t.Context(), s.refund(order, 30), s.clock)
	require.NoError(t, err)
	s.clock = s.clock.Add(time.Minute)
	dispute, _, err := s.OpenDispute(t.Context(), postgres.DisputeAct{
		ProjectID: project,
		DisputeID: "dsp_1",
		OrderID:   order,
		Note:      "nothing came",
		Actor:     "support-1",
	}, s.clock)
	require.NoError(t, err)
	require.Equal(t, "buyer", dispute.UserID)
	_, err = s.SetSuspicious(t.Context(), project, "buyer", true, "support-1", "ticket 7", s.clock.Add(time.Minute))
	require.NoError(t, err)

	read := func(f postgres.HistoryFilter) (events []string) {
		f.Limit = 3
		for {
			page, err := s.History(t.Context(), project, f)
			require.NoError(t, err)
			for _, e := range page {
				events = append(events, e.Source+" "+e.Event)
			}
			if len(page) < f.Limit {
				return events
			}
			f.Before = &page[len(page)-1]
		}
	}
	ofOrder := []string{"dispute open", "audit dispute.open",
		"transfer refund", "timeline refunded", "notification purchase_refunded", "audit order.refund",
		"transfer capture", "transfer reserve", "timeline completed", "timeline settled", "notification purchase_completed", "audit order.resolve",
		"transfer release", "timeline canceled", "notification purchase_canceled",
		"transfer reserve", "timeline reserved"}
	require.Equal(t, ofOrder, read(postgres.HistoryFilter{OrderID: order}))
	ofUser := read(postgres.HistoryFilter{UserID: "buyer"})
	require.Equal(t, append([]string{"audit user.flag"}, ofOrder[:len(ofOrder)-2]...), ofUser[:len(ofOrder)-1])
	require.ElementsMatch(t, []string{"transfer reserve", "timeline reserved", "transfer adjustment", "notification wallet_adjusted", "audit wallet.adjust"}, ofUser[len(ofOrder)-1:])
	require.Empty(t, read(postgres.HistoryFilter{UserID: "nobody"}))
	s.requireClean()
}

func TestDisputes(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.reserve("buyer")
	act := postgres.DisputeAct{ProjectID: project, DisputeID: "dsp_1", OrderID: order, Note: "nothing came", Actor: "support-1"}
	_, _, err := s.OpenDispute(t.Context(), act, s.clock)
	require.NoError(t, err)
	move := func(state store.DisputeState, note string) (postgres.Dispute, error) {
		d, _, err := s.NoteDispute(t.Context(), postgres.DisputeAct{
			ProjectID: project,
			DisputeID: "dsp_1",
			State:     state,
			Note:      note,
			Actor:     "support-2",
		}, s.clock)
		return d, err
	}
	_, err = move("", "asked the product")
	require.NoError(t, err)
	_, err = move(store.DisputeOpen, "")
	require.NoError(t, err, "it is open already")
	_, err = move(store.DisputeResolved, "they had it")
	require.NoError(t, err)
	_, err = move(store.DisputeRejected, "")
	requireRefusal(t, store.DisputeClosed, err)
	d, err := move(store.DisputeInReview, "")
	require.NoError(t, err)
	require.Equal(t, store.DisputeInReview, d.State)
	require.Len(t, d.Notes, 4)
	for i, state := range []store.DisputeState{store.DisputeOpen, "", store.DisputeResolved, store.DisputeInReview} {
		require.Equal(t, state, d.Notes[i].State)
	}
	act.DisputeID, act.OrderID = "dsp_2", "qp_none"
	_, _, err = s.OpenDispute(t.Context(), act, s.clock)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	for filter, want := range map[postgres.DisputeFilter]int{{Limit: 9}: 1, {OrderID: order, UserID: "buyer", State: "in_review", Limit: 9}: 1, {State: "open", Limit: 9}: 0, {Before: "dsp_1", Limit: 9}: 0} {
		list, err := s.Disputes(t.Context(), project, filter)
		require.NoError(t, err)
		require.Len(t, list, want)
	}
}

func TestAuditChainFindsTampering(t *testing.T) {
	t.Parallel()
	const off = `ALTER TABLE audit_log DISABLE TRIGGER USER; `
	for damage, first := range map[string]string{
		`UPDATE audit_log SET detail = '{"amount": 1}' WHERE audit_id = 3`:                                                                               "audit row 3 ",
		`UPDATE audit_log SET at = at + interval '1 microsecond' WHERE audit_id IN (2, 4)`:                                                               "audit row 2 ",
		`UPDATE audit_log SET actor = 'somebody', hash = sha256(hash) WHERE audit_id = 1`:                                                                "audit row 1 ",
		`DELETE FROM audit_log WHERE audit_id = 2`:                                                                                                       "audit row 3 ",
		`DELETE FROM audit_log WHERE audit_id > 4`:                                                                                                       "the audit log should end with row 6",
		`INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT 7, project_id, actor, action, subject, detail, at, hash FROM audit_log WHERE audit_id = 6`: "audit row 7 ",
		`UPDATE audit_log SET subject = 'x', hash = audit_hash((SELECT p.hash FROM audit_log p WHERE p.audit_id = 2), audit_id, project_id, actor, action, 'x', detail, at) WHERE audit_id = 3`: "audit row 4 ",
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 10, 0)
			for i := range 5 { // and one of the product
				s.addUser(fmt.Sprint("u", i), 100)
			}
			s.requireClean()
			testkit.Exec(t, s.DB, off+damage)
			checks, err := s.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Hour}, s.clock)
			require.NoError(t, err)
			for _, check := range checks {
				if check.Rule == "the audit log is one chain" {
					require.NotEmpty(t, check.Broken)
					require.Contains(t, check.Broken[0], first)
				}
			}
		})
	}
}

// The order of the chain is that of the commits, whoever writes at the same time.
func TestAuditChainUnderLoad(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 0)
	s.concurrently(40, func(ctx context.Context, i int) error {
		_, err := s.SetBlocked(ctx, project, "buyer", i%2 == 0, fmt.Sprint("admin-", i), "load", s.clock)
		return err
	})
	s.requireClean()
	entries, err := s.Audit(t.Context(), project, postgres.AuditFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, entries, 41)
	require.EqualValues(t, 41, entries[0].AuditID, "no gaps")

	from, until := s.clock, s.clock.Add(time.Microsecond)
	for want, f := range map[int]postgres.AuditFilter{
		1: {Actor: "admin-7"}, 20: {Action: "user.block"}, 40: {Subject: "buyer"}, 41: {From: &from, Until: &until}, 0: {Until: &from}, 9: {Before: 10},
	} {
		f.Limit = 100
		entries, err := s.Audit(t.Context(), project, f)
		require.NoError(t, err)
		require.Len(t, entries, want)
	}
}

// Rows from before the chain are chained by the migration, and it can be taken back.
func TestMigrationChainsWhatIsThere(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	conn := stdlib.OpenDB(*config)
	defer func() { _ = conn.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, postgres.Migrations())
	require.NoError(t, err)
	_, err = provider.DownTo(t.Context(), 3)
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), `INSERT INTO audit_log (project_id, actor, action, subject, detail, at) SELECT 1, 'old', 'user.block', n, '{}', now() FROM generate_series(1, 5) n`)
	require.NoError(t, err)
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
	db := testkit.OpenDatabase(t, url)
	_, _, err = db.PutUser(t.Context(), project, "u", postgres.UserEdit{}, time.Now())
	require.NoError(t, err)
	_, err = db.SetBlocked(t.Context(), project, "u", true, "admin", "x", time.Now())
	require.NoError(t, err)
	entries, err := db.Audit(t.Context(), project, postgres.AuditFilter{Limit: 9})
	require.NoError(t, err)
	require.Len(t, entries, 6)
	checks, err := db.Verify(t.Context(), postgres.VerifyOptions{}, time.Now())
	require.NoError(t, err)
	for _, check := range checks {
		require.Empty(t, check.Broken, check.Rule)
	}
}
