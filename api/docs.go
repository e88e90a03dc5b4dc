package api

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed docs.gohtml
var docsTemplate string

//go:embed docs.css
var docsStyle []byte

// The page at /docs shows openapi.yaml without a script or anything from elsewhere.
type docsPage struct {
	Title, Version string
	About          template.HTML
	Tags           []docsTag
	Problems       []docsProblem
}

type docsTag struct {
	ID, Name, Description string
	Operations            []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary string
	About                     template.HTML
	Roles                     []string
	Parameters                []docsParameter
	Body                      *docsBody
	Responses                 []docsResponse
	Curl                      string
}

type docsParameter struct {
	Name, In, Type string
	Required       bool
	About          template.HTML
}

type docsBody struct {
	Required bool
	Fields   []docsParameter
	Example  string
}

type docsResponse struct {
	Status, Example string
	About           template.HTML
	Headers         []string
}

type docsProblem struct {
	Code, Title string
	Status      int
}

// renderDocs renders the page once; it does not change while the process runs.
func renderDocs(doc *openapi3.T) (http.Handler, error) {
	parsed, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	page := docsPage{Title: doc.Info.Title, Version: doc.Info.Version, About: prose(doc.Info.Description), Problems: docsProblems()}
	for _, tag := range doc.Tags {
		page.Tags = append(page.Tags, docsTagOf(doc, tag))
	}
	var html bytes.Buffer
	if err := parsed.Execute(&html, page); err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		_, _ = w.Write(html.Bytes()) // nobody is left to tell
	}), nil
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(docsStyle) // nobody is left to tell
}

func docsProblems() []docsProblem {
	var problems []docsProblem
	for code, entry := range problemKinds {
		problems = append(problems, docsProblem{string(code), entry.title, entry.status})
	}
	slices.SortFunc(problems, func(a, b docsProblem) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code))
	})
	return problems
}

func docsTagOf(doc *openapi3.T, tag *openapi3.Tag) docsTag {
	shown := docsTag{ID: strings.ReplaceAll(tag.Name, " ", "-"), Name: tag.Name, Description: tag.Description}
	for _, path := range doc.Paths.InMatchingOrder() {
		item := doc.Paths.Value(path)
		for method, op := range item.Operations() {
			if slices.Contains(op.Tags, tag.Name) {
				shown.Operations = append(shown.Operations, docsOperationOf(path, method, item, op))
			}
		}
	}
	slices.SortFunc(shown.Operations, func(a, b docsOperation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return shown
}

func docsOperationOf(path, method string, item *openapi3.PathItem, op *openapi3.Operation) docsOperation {
	shown := docsOperation{
		ID:      op.OperationID,
		Method:  method,
		Path:    path,
		Summary: op.Summary,
		About:   prose(op.Description),
		Roles:   rolesOf(op),
	}
	address, headers := path, ""
	for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
		p := ref.Value
		shown.Parameters = append(shown.Parameters, docsParameter{
			Name:     p.Name,
			In:       p.In,
			Type:     typeOf(p.Schema.Value),
			Required: p.Required,
			About:    prose(p.Description),
		})
		switch {
		case p.In == openapi3.ParameterInPath:
			address = strings.ReplaceAll(address, "{"+p.Name+"}", fmt.Sprint(cmp.Or(p.Example, p.Schema.Value.Example)))
		case p.Name == "Idempotency-Key":
			headers += fmt.Sprintf(" \\\n  -H '%s: %v'", p.Name, p.Example)
		}
	}
	shown.Curl = "curl"
	if method != http.MethodGet {
		shown.Curl += " -X " + method
	}
	shown.Curl += " http://127.0.0.1:8080" + address
	if shown.Roles != nil {
		shown.Curl += docsAuthorization(shown.Roles[0])
	}
	shown.Curl += headers
	if op.RequestBody != nil {
		schema := bodySchema(op.RequestBody.Value)
		compact, _ := json.Marshal(sample(schema)) // examples of the document are JSON
		shown.Body = &docsBody{Required: op.RequestBody.Value.Required, Fields: fieldsOf("", schema), Example: pretty(sample(schema))}
		switch content := op.RequestBody.Value.Content; {
		case content.Get("application/json") != nil:
			shown.Curl += " \\\n  -H 'Content-Type: application/json' -d '" + string(compact) + "'"
		case content.Get("application/x-www-form-urlencoded") != nil:
			for _, field := range shown.Body.Fields {
				shown.Curl += fmt.Sprintf(" \\\n  --data-urlencode '%s=%v'", field.Name, sample(schema.Properties[field.Name].Value))
			}
		default:
			shown.Curl += " \\\n  -H 'Content-Type: text/plain' --data-binary @keys.txt"
		}
	}
	for status, ref := range op.Responses.Map() {
		shown.Responses = append(shown.Responses, docsResponseOf(status, ref.Value))
	}
	slices.SortFunc(shown.Responses, func(a, b docsResponse) int { return cmp.Compare(a.Status, b.Status) })
	return shown
}

// rolesOf are the roles of a call of v1, or whom a call of v2 is for.
func rolesOf(op *openapi3.Operation) []string {
	var roles []string
	for _, extension := range []string{"x-roles", "x-auth"} {
		listed, _ := op.Extensions[extension].([]any)
		for _, role := range listed {
			roles = append(roles, fmt.Sprint(role))
		}
	}
	return roles
}

// docsAuthorization is what curl sends as somebody of `quickpass dev`.
func docsAuthorization(role string) string {
	switch role {
	case asNobody:
		return ""
	case asUser, asOrder:
		return " \\\n  -H \"Authorization: Bearer $TOKEN\""
	case asServer:
		return " \\\n  -u 1:dev-project"
	default:
		return " \\\n  -H 'Authorization: Bearer dev-" + role + "'"
	}
}

func docsResponseOf(status string, r *openapi3.Response) docsResponse {
	shown := docsResponse{Status: status, About: prose(*r.Description)}
	for name := range r.Headers {
		shown.Headers = append(shown.Headers, name)
	}
	slices.Sort(shown.Headers)
	if body := r.Content.Get("application/json"); body != nil && status < "3" {
		shown.Example = pretty(sample(body.Schema.Value))
	}
	if body := r.Content.Get("text/event-stream"); body != nil {
		shown.Example = fmt.Sprint(body.Example)
	}
	return shown
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	boldSpan = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

// prose shows the little Markdown that the document uses. It escapes first, so nothing else becomes HTML.
func prose(text string) template.HTML {
	escaped := template.HTMLEscapeString(strings.TrimSpace(text))
	escaped = codeSpan.ReplaceAllString(escaped, "<code>$1</code>")
	escaped = boldSpan.ReplaceAllString(escaped, "<strong>$1</strong>")
	return template.HTML(strings.ReplaceAll(escaped, "\n\n", "<br><br>")) //nolint:gosec // escaped above
}
