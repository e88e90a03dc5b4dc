package store_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/store"
)

func TestRequiredTasksAreTextsOrNumbers(t *testing.T) {
	t.Parallel()
	var requires store.Requirements
	require.NoError(t, json.Unmarshal([]byte(`{"completed_tasks":["first-bet","123",124]}`), &requires))
	require.Equal(t, store.TaskIDs{"first-bet", "123", "124"}, requires.CompletedTasks)
	encoded, err := json.Marshal(requires)
	require.NoError(t, err)
	require.JSONEq(t, `{"completed_tasks":["first-bet","123","124"]}`, string(encoded))
	require.NoError(t, json.Unmarshal([]byte(`{"completed_tasks":null}`), &requires))
	require.Nil(t, requires.CompletedTasks)
	for _, wrong := range []string{`[1.5]`, `[true]`, `[{}]`, `"123"`, `[99999999999999999999]`} {
		require.Error(t, json.Unmarshal([]byte(`{"completed_tasks":`+wrong+`}`), &requires), wrong)
	}
}
