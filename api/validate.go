package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/postgres"
)

// maxBody of a request in bytes, unless the call has one of its own.
const maxBody = 64 << 10

var (
	filterOptions = &openapi3filter.Options{SkipSettingDefaults: true, MultiError: true}
	schemaOptions = []openapi3.SchemaValidationOption{openapi3.MultiErrors(), openapi3.VisitAsRequest(), openapi3.DisableSchemaErrorDetails()}
)

// validate holds a request to openapi.yaml before its handler sees it, and bounds its time.
func (s *Server) validate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		call := callOf(c.Request().Context())
		if call.operation == nil {
			return next(c)
		}
		if err := validateParameters(c, call.operation); err != nil {
			return err
		}
		body, err := readBody(c, call.operation)
		if err != nil {
			return err
		}
		value, err := validateBody(call.operation, call.media, body)
		if err != nil {
			return err
		}
		call.body, call.value = body, value
		if key := c.Request().Header.Get("Idempotency-Key"); key != "" {
			if call.idempotency, err = idempotencyOf(c.Request(), key, value); err != nil {
				return err
			}
			if call.caller.userID != "" {
				call.idempotency = ofUser(call.idempotency, call.caller.userID)
			}
		}
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.options.RequestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

func validateParameters(c echo.Context, op *operation) error {
	r := c.Request()
	// Lists may come as several header lines (RFC 9110, 5.3); the generated code takes one.
	for _, name := range []string{"Prefer", "If-Match", "If-None-Match"} {
		if lines := r.Header[name]; len(lines) > 1 {
			r.Header[name] = []string{strings.Join(lines, ", ")}
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fail(ProblemCodeInvalidRequest, "the query string can't be read")
	}
	for name, values := range query {
		switch {
		case !op.query[name] && len(op.auth) > 0: // clients of v2 send some that we have no use for
		case op.lists[name]:
		case !op.query[name]:
			return invalid(name, "there is no such query parameter")
		case len(values) > 1:
			return invalid(name, "given more than once")
		case values[0] == "":
			return invalid(name, "is empty; leave it out")
		}
	}
	path := make(map[string]string, len(c.ParamNames()))
	for i, name := range c.ParamNames() {
		if path[name], err = url.PathUnescape(c.ParamValues()[i]); err != nil {
			return invalid(name, "can't be unescaped")
		}
	}
	// Not openapi3filter.ValidateRequest: it reads the body, without a bound.
	input := &openapi3filter.RequestValidationInput{
		Request:     r,
		PathParams:  path,
		QueryParams: query,
		Route:       op.route,
		Options:     filterOptions,
	}
	var mistakes openapi3.MultiError
	for _, parameter := range op.parameters {
		if err := openapi3filter.ValidateParameter(r.Context(), input, parameter); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if mistakes == nil {
		return nil
	}
	return invalidRequest(mistakes)
}

// readBody reads a body whole; nil when there is none and none is needed.
func readBody(c echo.Context, op *operation) ([]byte, error) {
	r := c.Request()
	if op.body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, op.maxBody))
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		return nil, fail(ProblemCodeBodyTooLarge, fmt.Sprintf("a body of this call has at most %d bytes", op.maxBody))
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fail(ProblemCodeRequestTimeout, "send the whole body within a few seconds")
	case err != nil:
		return nil, fail(ProblemCodeInvalidRequest, "the body broke off")
	case len(body) == 0 && op.bodyRequired:
		return nil, fail(ProblemCodeInvalidRequest, "the call needs a body: "+strings.Join(op.media, " or "))
	case len(body) == 0:
		return nil, nil
	}
	media, params, err := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
	if charset := params["charset"]; err != nil || !slices.Contains(op.media, media) || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return nil, fail(ProblemCodeUnsupportedMediaType, "send it in UTF-8, with Content-Type: "+strings.Join(op.media, " or "))
	}
	callOf(r.Context()).media = media
	return body, nil
}

func validateBody(op *operation, media string, body []byte) (any, error) {
	switch {
	case body == nil:
		return nil, nil
	case !strings.HasSuffix(media, "json") || op.raw:
		return string(body), nil
	}
	value, err := decodeStrict(body)
	if err != nil {
		return nil, fail(ProblemCodeInvalidRequest, err.Error())
	}
	if op.rows {
		return value, nil
	}
	return value, invalidRequest(op.body.VisitJSON(value, schemaOptions...))
}

// idempotencyOf hashes method, path and body; the body as its keys sorted, so that spaces and the order
// of the keys make no difference.
func idempotencyOf(r *http.Request, key string, body any) (*postgres.Idempotency, error) {
	canonical, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("hash request: %w", err)
	}
	return &postgres.Idempotency{Key: key, RequestHash: sha256.Sum256(slices.Concat([]byte(r.Method+" "+r.URL.Path+"\n"), canonical))}, nil
}

// ofUser makes a key the user's own: two users may send the same one, and neither is told of the other's answer.
func ofUser(key *postgres.Idempotency, userID string) *postgres.Idempotency {
	if key == nil {
		return nil
	}
	own := sha256.Sum256([]byte(userID + "\n" + key.Key))
	return &postgres.Idempotency{Key: "user/" + hex.EncodeToString(own[:]), RequestHash: key.RequestHash}
}

// invalidRequest lists every mistake that kin-openapi found, by field.
func invalidRequest(err error) error {
	if err == nil {
		return nil
	}
	fields := fieldProblems("", err)
	slices.SortStableFunc(fields, func(a, b FieldProblem) int { return strings.Compare(a.Field, b.Field) })
	f := &failure{code: ProblemCodeInvalidRequest, detail: "see errors for each mistake", fields: fields}
	if len(fields) == 1 {
		f.detail = fields[0].Field + ": " + fields[0].Message
	}
	return f
}

func fieldProblems(field string, err error) []FieldProblem {
	var many openapi3.MultiError
	var request *openapi3filter.RequestError
	var schema *openapi3.SchemaError
	switch {
	case errors.As(err, &request):
		if request.Parameter != nil {
			field = request.Parameter.Name
		}
		if request.Err == nil {
			return []FieldProblem{{field, "is not valid"}}
		}
		return fieldProblems(field, request.Err)
	case errors.As(err, &many):
		var all []FieldProblem
		for _, one := range many {
			all = append(all, fieldProblems(field, one)...)
		}
		return all
	case errors.As(err, &schema):
		return []FieldProblem{schemaProblem(field, schema)}
	default:
		return []FieldProblem{{orBody(field), "is not valid"}} // a value of the wrong type
	}
}

func orBody(field string) string {
	if field == "" {
		return "body"
	}
	return field
}

// schemaProblem says it with kin-openapi's reason, which never quotes a value, or more clearly.
func schemaProblem(field string, err *openapi3.SchemaError) FieldProblem {
	path := fieldPath(err.JSONPointer())
	var unknown string
	if _, scanErr := fmt.Sscanf(err.Reason, "property %q is unsupported", &unknown); scanErr == nil {
		return FieldProblem{strings.TrimPrefix(path+"."+unknown, "."), "there is no such field"}
	}
	if path != "" {
		field = path
	}
	switch {
	case err.SchemaField == "oneOf" && err.Schema.Description != "":
		return FieldProblem{orBody(field), err.Schema.Description}
	case err.SchemaField == "maximum" && err.Schema.Max != nil: // its own reason says 1e+06
		return FieldProblem{orBody(field), "number must be at most " + strconv.FormatFloat(*err.Schema.Max, 'f', -1, 64)}
	}
	return FieldProblem{orBody(field), err.Reason}
}

// fieldPath writes a path the way the rules do: items[3].sku.
func fieldPath(pointer []string) string {
	var path strings.Builder
	for _, part := range pointer {
		if _, err := strconv.ParseUint(part, 10, 32); err == nil {
			path.WriteString("[" + part + "]")
			continue
		}
		if path.Len() > 0 {
			path.WriteString(".")
		}
		path.WriteString(part)
	}
	return path.String()
}

// bodyBinder gives the generated code the body that was validated.
type bodyBinder struct{}

func (bodyBinder) Bind(into any, c echo.Context) error {
	call := callOf(c.Request().Context())
	body := call.body
	switch {
	case body == nil:
		return io.EOF // an optional body that was left out
	case call.operation.raw:
		return nil
	}
	err := json.Unmarshal(body, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return invalid(wrong.Field, "must be a whole number without fraction or exponent")
	case err != nil:
		return fail(ProblemCodeInvalidRequest, "the body does not fit the call")
	}
	return nil
}
