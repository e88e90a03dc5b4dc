package api

import (
	commandline "flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// validated are the calls of /api/v2 whose successful answers were held to openapi.yaml: "GET /api/v2/...".
var validated sync.Map

// TestMain fails a whole run that has not seen a good answer of each call of /api/v2.
func TestMain(m *testing.M) {
	commandline.Parse()
	code := m.Run()
	whole := commandline.Lookup("test.run").Value.String() == "" && commandline.Lookup("test.skip").Value.String() == "" && !testing.Short()
	if missing := notValidated(); code == 0 && whole && len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "no test has had a good answer of:\n%s\n", strings.Join(missing, "\n"))
		code = 1
	}
	os.Exit(code)
}

func notValidated() (missing []string) {
	for path, item := range testDoc().Paths.Map() {
		for method, operation := range item.Operations() {
			if _, seen := validated.Load(method + " " + path); isV2(path) && !seen && !isStream(operation) {
				missing = append(missing, method+" "+path)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// isStream says whether the answer never ends, so that its own test reads it.
func isStream(operation *openapi3.Operation) bool {
	answer := operation.Responses.Status(http.StatusOK)
	return answer != nil && answer.Value.Content["text/event-stream"] != nil
}
