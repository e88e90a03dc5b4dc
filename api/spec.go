package api

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
)

// spec is the source of the routes, the types, the validation, the roles and the page at /docs.
//
//go:embed openapi.yaml
var spec []byte

// operation is what the middleware needs to know of one call, looked up by Echo's own route so that
// no second router runs.
type operation struct {
	route        *routers.Route
	roles        []string // of v1: whose key it takes, by x-roles
	auth         []string // of v2: who may call, by x-auth
	parameters   []*openapi3.Parameter
	query        map[string]bool // the query parameters among them
	lists        map[string]bool // of these, those that may be given more than once
	body         *openapi3.Schema
	bodyRequired bool
	maxBody      int64 // bytes; x-max-body, or the usual
	media        []string
	rows         bool // x-rows: the handler judges a list row by row
	raw          bool // x-raw: the handler decodes the body
	signed       bool // x-signed: the body's signature takes the place of a key; the handler checks it
}

// loadSpec reads and checks the document.
func loadSpec() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(spec)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	if err := doc.Validate(loader.Context); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return doc, nil
}

// operationsOf indexes the calls that need a key by method and Echo path, such as "GET /api/v1/orders/:id".
// HEAD is the GET.
func operationsOf(doc *openapi3.T) (map[string]*operation, error) {
	operations := map[string]*operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security != nil && len(*op.Security) == 0 {
				continue // open to everybody
			}
			found, err := operationOf(doc, path, method, item, op)
			if err != nil {
				return nil, fmt.Errorf("openapi.yaml: %s %s: %w", method, path, err)
			}
			operations[method+" "+echoPath(path)] = found
			if method == http.MethodGet {
				operations[http.MethodHead+" "+echoPath(path)] = found
			}
		}
	}
	return operations, nil
}

func operationOf(doc *openapi3.T, path, method string, item *openapi3.PathItem, op *openapi3.Operation) (*operation, error) {
	found := &operation{
		route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op},
		query: map[string]bool{}, lists: map[string]bool{},
	}
	roles, err := json.Marshal(op.Extensions["x-roles"])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(roles, &found.roles); err != nil {
		return nil, fmt.Errorf("x-roles: %w", err)
	}
	auth, err := json.Marshal(op.Extensions["x-auth"])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(auth, &found.auth); err != nil {
		return nil, fmt.Errorf("x-auth: %w", err)
	}
	found.signed = op.Extensions["x-signed"] == true
	if len(found.roles) == 0 && !found.signed && len(found.auth) == 0 {
		return nil, errors.New("x-roles must list who may make the call")
	}
	for _, parameters := range []openapi3.Parameters{item.Parameters, op.Parameters} {
		for _, parameter := range parameters {
			found.parameters = append(found.parameters, parameter.Value)
			if parameter.Value.In == openapi3.ParameterInQuery {
				found.query[parameter.Value.Name] = true
				found.lists[parameter.Value.Name] = parameter.Value.Schema.Value.Type.Is("array")
			}
		}
	}
	if op.RequestBody != nil {
		found.bodyRequired = op.RequestBody.Value.Required
		found.body = bodySchema(op.RequestBody.Value)
		found.media = slices.Sorted(maps.Keys(op.RequestBody.Value.Content))
		found.maxBody = maxBody
		switch most := op.Extensions["x-max-body"].(type) {
		case nil:
		case float64:
			found.maxBody = int64(most)
		default:
			return nil, fmt.Errorf("x-max-body must be a number of bytes, not %T", most)
		}
		found.rows = op.Extensions["x-rows"] == true
		found.raw = op.Extensions["x-raw"] == true
	}
	return found, nil
}

// bodySchema of a call: that of JSON, or of the one media type there is.
func bodySchema(body *openapi3.RequestBody) *openapi3.Schema {
	if media := body.Content.Get("application/json"); media != nil {
		return media.Schema.Value
	}
	for _, media := range body.Content {
		return media.Schema.Value
	}
	return nil
}

var toEchoPath = strings.NewReplacer("{", ":", "}", "")

func echoPath(path string) string { return toEchoPath.Replace(path) }

func serveSpec(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(spec) // nobody is left to tell
}
