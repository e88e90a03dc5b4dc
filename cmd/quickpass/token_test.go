package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

func TestTokenOfDev(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	command := root()
	command.SetOut(&out)
	command.SetArgs([]string{"token", "--project", "1", "--user", "12345"})
	require.NoError(t, command.ExecuteContext(t.Context()))
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(strings.TrimSpace(out.String()), &claims, func(*jwt.Token) (any, error) { return []byte(devJWTSecret), nil }, jwt.WithExpirationRequired())
	require.NoError(t, err)
	require.Equal(t, []any{"12345", 1.0}, []any{claims["sub"], claims["project_id"]})

	for _, arguments := range [][]string{{"token"}, {"token", "--user", "12345", "--valid", "-1h"}, {"token", "--user", "12345", "--project", "0"}} {
		command := root()
		command.SetArgs(arguments)
		require.Error(t, command.ExecuteContext(t.Context()), "%v", arguments)
	}
}
