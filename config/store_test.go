package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStoreSettings(t *testing.T) {
	t.Setenv("QUICKPASS_STORE_APPROVAL_LIMIT", "0")
	c, err := Load("")
	require.NoError(t, err)
	require.Zero(t, c.Store.ApprovalLimit, "0 switches second approvals off")
	require.Equal(t, 3, c.Store.RiskyOrders)

	t.Setenv("QUICKPASS_STORE_APPROVAL_LIMIT", "-1")
	t.Setenv("QUICKPASS_STORE_RISKY_ORDERS", "-1")
	_, err = Load("")
	require.ErrorContains(t, err, "QUICKPASS_STORE_APPROVAL_LIMIT")
	require.ErrorContains(t, err, "QUICKPASS_STORE_RISKY_ORDERS")
}
