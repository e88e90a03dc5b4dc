package fake_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

func exchange(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func TestConditions(t *testing.T) {
	t.Parallel()
	now, dice := time.Unix(1_800_000_000, 0), 0.5
	config := fake.Config{Now: func() time.Time { return now }, Random: func() float64 { return dice }}
	server, client, _ := start(t, config, nil)
	orders := 0
	refused := func(user string) bool {
		orders++
		request := order(fmt.Sprintf("o%d", orders))
		request.UserID = user
		return client.Credit(t.Context(), request).Kind == mainproduct.Refused
	}
	refuse := func(change func(*fake.Behaviour)) {
		b := fake.Behaviour{Kind: fake.Refuse}
		change(&b)
		require.NoError(t, server.SetBehaviours(b))
	}

	refuse(func(b *fake.Behaviour) { b.Users = []string{"a", "b"} })
	require.True(t, refused("bob"))
	require.False(t, refused("carol"))

	refuse(func(b *fake.Behaviour) { b.Orders = []string{"other"} })
	require.False(t, refused("bob"))

	refuse(func(b *fake.Behaviour) { b.Calls = 2 })
	require.Equal(t, []bool{true, true, false}, []bool{refused("a"), refused("a"), refused("a")})
	require.Empty(t, server.Behaviours())

	refuse(func(b *fake.Behaviour) { b.Fraction = new(0.6) })
	require.True(t, refused("a"))
	dice = 0.6
	require.False(t, refused("a"))
	refuse(func(b *fake.Behaviour) { b.Fraction = new(0.0) })
	dice = 0
	require.False(t, refused("a"))

	refuse(func(b *fake.Behaviour) { b.DurationMS = 1000 })
	require.True(t, refused("a"))
	now = now.Add(time.Second)
	require.False(t, refused("a"))
	require.Empty(t, server.Behaviours())

	refuse(func(b *fake.Behaviour) { b.On = fake.OnInquiry })
	require.False(t, refused("a"))
	require.Equal(t, mainproduct.Unknown, client.Inquire(t.Context(), "o1").Kind)
}

// A main product that is not idempotent credits a retry again; and what was credited is never refused.
func TestNotIdempotentGoesWithOthers(t *testing.T) {
	t.Parallel()
	server, client, _ := start(t, fake.Config{}, nil)
	require.NoError(t, server.SetBehaviours(fake.Behaviour{Kind: fake.NotIdempotent}, fake.Behaviour{
		Kind:        fake.Drop,
		CreditFirst: true,
		Calls:       1,
	}))
	require.Equal(t, mainproduct.Unknown, client.Credit(t.Context(), order("o1")).Kind)
	require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order("o1")).Kind)
	require.NoError(t, server.AddBehaviours(fake.Behaviour{Kind: fake.Refuse}))
	require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order("o1")).Kind)

	entry, _ := server.Books().Entry("o1")
	require.Equal(t, 2, entry.Credited)
	require.Equal(t, 3, entry.Calls)
	require.Equal(t, "1000", server.Books().Balance("u1", "credits").String())
	totals := server.Books().Totals()
	require.Equal(t, 1, totals.CreditedOrders)
	require.Equal(t, 2, totals.Credits)
}

func TestControl(t *testing.T) {
	t.Parallel()
	_, client, url := start(t, fake.Config{}, nil)

	status, text := exchange(t, http.MethodGet, url+"/control/health", "")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"status":"ok"}`, text)

	status, text = exchange(t, http.MethodPut, url+"/control/behaviours", `[{"kind":"refuse","code":"CLOSED","retry_allowed":true,"fraction":1,"calls":1}]`)
	require.Equal(t, http.StatusOK, status, text)
	answer := client.Credit(t.Context(), order("o0"))
	require.Equal(t, "CLOSED", answer.Code)
	require.True(t, answer.RetryAllowed)

	for _, wrong := range []string{
		``, `{}`, `[{}]`, `[{"kind":"dance"}]`, `[{"kind":"hang","fraction":2}]`, `[{"kind":"hang","calls":-1}]`,
		`[{"kind":"hang","hours":1}]`, `[{"kind":"status","status":42}]`, `[{"kind":"delay","delay_ms":-1}]`, `[{"kind":"hang","on":"x"}]`,
	} {
		status, text = exchange(t, http.MethodPut, url+"/control/behaviours", wrong)
		require.Equal(t, http.StatusBadRequest, status, wrong)
		require.Contains(t, text, "error")
	}
	_, text = exchange(t, http.MethodPost, url+"/control/behaviours", `[{"kind":"empty","users":["z"]}]`)
	require.Contains(t, text, `"empty"`)
	_, shown := exchange(t, http.MethodGet, url+"/control/behaviours", "")
	require.Equal(t, text, shown)
	_, text = exchange(t, http.MethodPut, url+"/control/behaviours", shown) // what is shown can be set again
	require.Contains(t, text, `"empty"`)
	_, text = exchange(t, http.MethodDelete, url+"/control/behaviours", "")
	require.Equal(t, "[]", text)

	for i := 1; i < 5; i++ {
		client.Credit(t.Context(), order(fmt.Sprintf("o%d", i)))
	}
	var ids []string
	for offset := 0; ; {
		status, text = exchange(t, http.MethodGet, fmt.Sprintf("%s/control/books?limit=2&offset=%d", url, offset), "")
		require.Equal(t, http.StatusOK, status)
		var page fake.BooksPage
		require.NoError(t, json.Unmarshal([]byte(text), &page))
		require.Equal(t, 5, page.Totals.Orders)
		require.Equal(t, "2000", page.Totals.Amounts["credits"].String())
		for _, entry := range page.Entries {
			ids = append(ids, entry.OrderID)
		}
		if offset = page.NextOffset; offset == 0 {
			break
		}
	}
	require.Equal(t, []string{"o0", "o1", "o2", "o3", "o4"}, ids)

	status, text = exchange(t, http.MethodGet, url+"/control/books?order_id=o1", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, `"amount":"500"`)
	status, _ = exchange(t, http.MethodGet, url+"/control/books?order_id=never", "")
	require.Equal(t, http.StatusNotFound, status)
	status, _ = exchange(t, http.MethodGet, url+"/control/books?limit=-1", "")
	require.Equal(t, http.StatusBadRequest, status)

	status, _ = exchange(t, http.MethodPost, url+"/control/reset", "")
	require.Equal(t, http.StatusNoContent, status)
	status, _ = exchange(t, http.MethodGet, url+"/control/books?order_id=o1", "")
	require.Equal(t, http.StatusNotFound, status)
}

// Another site that a developer has open must not be able to reach the control API.
func TestControlRefusesOtherSites(t *testing.T) {
	t.Parallel()
	_, _, url := start(t, fake.Config{}, nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/control/reset", nil)
	require.NoError(t, err)
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusForbidden, response.StatusCode)
}

func TestPageEscapes(t *testing.T) {
	t.Parallel()
	const attack = `<script>alert("1")</script>`
	server, client, url := start(t, fake.Config{}, nil)
	request := order(attack)
	request.UserID, request.Currency = attack, attack
	client.Credit(t.Context(), request)
	require.NoError(t, server.SetBehaviours(
		fake.Behaviour{
			Kind:       fake.Refuse,
			Code:       attack,
			Users:      []string{attack},
			Orders:     []string{attack},
			DurationMS: 1000,
			Fraction:   new(0.25),
		},
	))
	client.Credit(t.Context(), request)

	status, page := exchange(t, http.MethodGet, url+"/", "")
	require.Equal(t, http.StatusOK, status)
	require.NotContains(t, page, "<script>alert")
	require.Contains(t, page, "&lt;script&gt;alert")
	require.Contains(t, page, "share 0.25")
	require.True(t, strings.HasSuffix(strings.TrimSpace(page), "</html>"))
	for _, file := range []string{"/page.css", "/page.js"} {
		status, text := exchange(t, http.MethodGet, url+file, "")
		require.Equal(t, http.StatusOK, status)
		require.NotEmpty(t, text)
	}
	status, _ = exchange(t, http.MethodGet, url+"/nothing", "")
	require.Equal(t, http.StatusNotFound, status)
}
