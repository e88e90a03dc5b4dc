package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const (
	maxCondition = 2000 // characters
	// maxConditionCost bounds one evaluation, in CEL's units of about one comparison: some milliseconds.
	maxConditionCost = 10_000
)

// Condition is a compiled CEL expression over an event. It is safe for concurrent use. The variables are
//
//   - event: the fields as they were sent. All numbers are doubles, as the sender may write 250 or 250.00; they compare
//     with whole numbers all the same.
//   - amount (double), currency, event_type, user_id (string), timestamp: the checked ones. An event without an amount has
//     no such variable.
type Condition struct {
	program cel.Program
	names   []string // the fields that it looks at, for the explanation
}

var conditionEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.CustomTypeAdapter(adapter{}),
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("amount", cel.DoubleType),
		cel.Variable("currency", cel.StringType),
		cel.Variable("event_type", cel.StringType),
		cel.Variable("user_id", cel.StringType),
		cel.Variable("timestamp", cel.TimestampType),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxCondition),
	)
})

// NewCondition compiles an expression; an empty one is always true. The error says what is wrong and where.
func NewCondition(expression string) (*Condition, error) {
	if expression == "" {
		return &Condition{}, nil
	}
	if len([]rune(expression)) > maxCondition {
		return nil, fmt.Errorf("at most %d characters", maxCondition)
	}
	env, err := conditionEnv()
	if err != nil {
		return nil, fmt.Errorf("prepare conditions: %w", err)
	}
	checked, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, errors.New(shorten(strings.TrimSpace(err.Error())))
	}
	if result := checked.OutputType(); result != cel.BoolType && result != cel.DynType {
		return nil, fmt.Errorf("must be true or false, not of type %s", result)
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxConditionCost))
	if err != nil {
		return nil, errors.New(shorten(err.Error()))
	}
	return &Condition{program: program, names: fieldsOf(checked.NativeRep())}, nil
}

// eval says whether the event meets the condition, as Counted, ConditionFalse or ConditionFailed.
func (c *Condition) eval(e *Event) (Code, map[string]string) {
	if c.program == nil {
		return Counted, nil
	}
	result, _, err := c.program.Eval(variables{e})
	if err == nil && result == types.True {
		return Counted, nil
	}
	values := make(map[string]string, len(c.names)+1)
	for _, name := range c.names {
		if text, ok := e.text(name); ok {
			values[name] = text
		}
	}
	switch {
	case err != nil:
		values["error"] = shorten(err.Error())
		return ConditionFailed, values
	case result == types.False:
		return ConditionFalse, values
	default:
		values["error"] = "the result is of type " + result.Type().TypeName() + ", not bool"
		return ConditionFailed, values
	}
}

// fieldsOf are the fields that an expression names, as paths such as player.level.
func fieldsOf(checked *ast.AST) []string {
	var names []string
	inner := map[int64]bool{}
	ast.PreOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if inner[e.ID()] {
			return
		}
		path, ok := fieldPath(e, inner)
		if ok && path != "" && !slices.Contains(names, path) {
			names = append(names, path)
		}
	}))
	return names
}

var shorthands = []string{"amount", "currency", "event_type", "user_id", "timestamp"}

// fieldPath of event.a.b or event["a"].b, whose parts it marks as seen; "" for the event itself.
func fieldPath(e ast.Expr, inner map[int64]bool) (string, bool) {
	var operand ast.Expr
	var field string
	switch e.Kind() {
	case ast.IdentKind:
		if slices.Contains(shorthands, e.AsIdent()) {
			return e.AsIdent(), true
		}
		return "", e.AsIdent() == "event"
	case ast.SelectKind:
		operand, field = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || call.Args()[1].Kind() != ast.LiteralKind {
			return "", false
		}
		name, ok := call.Args()[1].AsLiteral().(types.String)
		if !ok {
			return "", false
		}
		operand, field = call.Args()[0], string(name)
	default:
		return "", false
	}
	path, ok := fieldPath(operand, inner)
	if !ok {
		return "", false
	}
	inner[operand.ID()] = true
	return within(path, field), true
}

// text of a field for an explanation, false when the event lacks it.
func (e *Event) text(path string) (string, bool) {
	var value any = e.Fields
	for name := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return "", false
		}
		if value, ok = object[name]; !ok {
			return "", false
		}
	}
	if text, ok := scalar(value); ok {
		return shorten(text), true
	}
	encoded, err := json.Marshal(value)
	return shorten(string(encoded)), err == nil
}

// scalar is a text, number or truth value as text.
func scalar(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return string(value), true
	case bool:
		if value {
			return "true", true
		}
		return "false", true
	default:
		return "", false
	}
}

// variables gives a condition what it asks for and builds nothing else.
type variables struct{ event *Event }

// ResolveName is called by CEL for each variable that it meets.
func (v variables) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		return types.NewStringInterfaceMap(adapter{}, v.event.Fields), true
	case "amount":
		return types.Double(v.event.Amount.Decimal.InexactFloat64()), v.event.Amount.Valid
	case "currency":
		currency, ok := v.event.Fields["currency"].(string)
		return types.String(currency), ok
	case "event_type":
		return types.String(v.event.Type), true
	case "user_id":
		return types.String(v.event.UserID), true
	case "timestamp":
		return types.Timestamp{Time: v.event.OccurredAt}, true
	default:
		return nil, false
	}
}

// Parent is CEL's: there is no outer scope.
func (v variables) Parent() cel.Activation { return nil }

// adapter gives CEL the decoded JSON as it is, without a copy.
type adapter struct{}

// NativeToValue is called by CEL for each value that a condition looks at.
func (a adapter) NativeToValue(value any) ref.Val {
	switch value := value.(type) {
	case json.Number:
		number, err := value.Float64()
		if err != nil {
			return types.NewErr("%s is no number that can be compared", shorten(string(value)))
		}
		return types.Double(number)
	case map[string]any:
		return types.NewStringInterfaceMap(a, value)
	case []any:
		return types.NewDynamicList(a, value)
	default:
		return types.DefaultTypeAdapter.NativeToValue(value)
	}
}
