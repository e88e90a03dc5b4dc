package api

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
)

// Every call is tried with every role; openapi.yaml alone says who may.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	operations, err := operationsOf(testDoc())
	require.NoError(t, err)
	v1 := maps.Clone(operations)
	maps.DeleteFunc(v1, func(route string, op *operation) bool { return len(op.auth) > 0 || strings.HasPrefix(route, "HEAD ") }) // as its GET
	require.Len(t, v1, 106)
	fill := strings.NewReplacer(":sku", "no-such", ":id", "no-such")
	for route, op := range v1 {
		if op.signed {
			continue // it takes no key
		}
		method, path, _ := strings.Cut(route, " ")
		for _, role := range append(testRoles, "") {
			a := s.call(role, method, fill.Replace(path), "", header("Last-Event-ID", "!")) // no stream opens
			switch {
			case role == "":
				require.Equal(t, http.StatusUnauthorized, a.status, route)
				require.Equal(t, "Bearer", a.header.Get("WWW-Authenticate"))
			case slices.Contains(op.roles, role):
				require.NotContains(t, []string{"unauthorized", "forbidden"}, a.code(), "%s %s", role, route)
			default:
				require.Equal(t, http.StatusForbidden, a.status, "%s %s", role, route)
				require.Equal(t, "forbidden", a.code())
			}
		}
	}
}

func TestRolesAreSensible(t *testing.T) {
	t.Parallel()
	operations, err := operationsOf(testDoc())
	require.NoError(t, err)
	for route, op := range operations {
		if op.signed || len(op.auth) > 0 {
			require.Empty(t, op.roles, route)
			continue
		}
		require.Contains(t, op.roles, "admin", "admin may do all: %s", route)
		if strings.Contains(route, "/admin/") {
			require.NotContains(t, op.roles, "storefront", route)
		}
		if strings.HasPrefix(route, "GET ") {
			require.Contains(t, op.roles, "support", "support reads all: %s", route)
		}
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.putKey("dev-storefront", "storefront")
	for _, authorization := range []string{
		"", "Bearer", "Bearer ", "Bearer nobody", "Basic " + keyOf("admin"), keyOf("admin"), "Bearer " + strings.Repeat("k", 5000),
		"Bearer dev-storefront", "Bearer key-of-admin\x00", "Bearer ключ",
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.http.URL+"/api/v1/products", nil)
		require.NoError(t, err)
		if strings.Contains(authorization, "\x00") {
			continue // net/http's client does not send it
		}
		r.Header.Set("Authorization", authorization)
		a := s.do(r)
		require.Equal(t, http.StatusUnauthorized, a.status, "%q", authorization)
		require.Equal(t, "unauthorized", a.code())
	}
	require.NotContains(t, s.log.String(), "key-of-admin ")

	dev := newShop(t, func(o *Options) { o.Dev = true })
	dev.putKey("dev-storefront", "storefront")
	require.Equal(t, 200, dev.call("", "GET", "/api/v1/products", "", header("Authorization", "bearer dev-storefront")).status)
}

func TestKeysAreRememberedForAWhile(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	now := time.Now()
	keys, err := newKeyring(s.db, false, func() time.Time { return now })
	require.NoError(t, err)
	found, err := keys.find(t.Context(), keyOf("admin"))
	require.NoError(t, err)
	require.Equal(t, "admin", found.Role)
	_, err = keys.find(t.Context(), "late")
	require.ErrorIs(t, err, errUnauthorized)

	// The old key's id gets another hash: the old key is gone.
	hash := sha256.Sum256([]byte("rotated"))
	require.NoError(t, s.db.PutAPIKey(t.Context(), postgres.APIKey{
		KeyID:     "id-" + keyOf("admin"),
		ProjectID: 1,
		Role:      "admin",
	}, hash[:], now))
	s.putKey("late", "admin")
	now = now.Add(unknownFor)
	_, err = keys.find(t.Context(), "late")
	require.NoError(t, err)
	_, err = keys.find(t.Context(), keyOf("admin"))
	require.NoError(t, err, "still remembered")
	now = now.Add(knownFor)
	_, err = keys.find(t.Context(), keyOf("admin"))
	require.ErrorIs(t, err, errUnauthorized)
}
