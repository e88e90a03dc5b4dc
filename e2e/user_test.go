package e2e

import (
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// userSecret signs the tokens of project 1's users.
const userSecret = "e2e-project-jwt-secret-0123456789"

// tokenOf is the Authorization of a user of project 1.
func (s *stack) tokenOf(userID string) []string {
	s.t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub":        userID,
		"exp":        time.Now().Add(time.Hour).Unix(),
		"project_id": 1,
	}).SignedString([]byte(userSecret))
	require.NoError(s.t, err)
	return []string{"Authorization", "Bearer " + token}
}

// asUser calls /api/v2 as a user of project 1.
func (n *node) asUser(userID, method, path string, body any, into any) {
	n.t.Helper()
	a := n.call("", method, "/api/v2/project/1"+path, body, n.tokenOf(userID)...)
	require.Equal(n.t, http.StatusOK, a.status, "%s %s: %s", method, path, a.body)
	a.into(n.t, into)
}
