package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// Fields of answers that existing clients read, by the type they read them with; those after a `?` are not in every answer. What
// is in a list ends its name with []. Sources are the public references of that API; where they contradict each other, what its
// clients read counts (docs/decisions.md).
const (
	quoteFields        = `amount:string amount_without_discount:string currency:string`
	virtualPriceFields = `sku:string name:string type:string ?description:string ?image_url:string amount:integer amount_without_discount:integer is_default:boolean`
	promotionFields    = `name:string date_start:string date_end:string discount:object ?discount.percent:string ?discount.value:string bonus[]:object bonus[].sku:string bonus[].quantity:integer bonus[].type:string
		?bonus[].name:string ?bonus[].image_url:string ?bonus[].bundle_type:string ?limits:object ?limits.per_user:object limits.per_user.available:integer limits.per_user.total:integer`
	limitFields = `?per_user:object per_user.total:integer per_user.available:integer ?per_user.recurrent_schedule:object per_user.recurrent_schedule.interval_type:string
		per_user.recurrent_schedule.reset_next_date:integer ?per_item:object per_item.total:integer per_item.available:integer per_item.reserved:integer per_item.sold:integer`
	attributeFields = `external_id:string name:string values[]:object values[].external_id:string values[].value:string`
	groupFields     = `external_id:string name:string`
	optionFields    = `consumable:object ?consumable.usages_count:integer expiration_period:object expiration_period.type:string expiration_period.value:integer`
)

// prefixed puts all fields below another.
func prefixed(parent, fields string) string {
	var all []string
	for field := range strings.FieldsSeq(fields) {
		name, optional := strings.CutPrefix(field, "?")
		if name = parent + "." + name; optional {
			name = "?" + name
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// itemFields are those of what is sold, whatever its type, below parent.
func itemFields(parent string) string {
	return strings.Join([]string{
		prefixed(parent, `sku:string name:string description:string type:string groups[]:object attributes[]:object image_url:string is_free:boolean price:object virtual_prices[]:object
			can_be_bought:boolean promotions[]:object limits:object periods[]:object periods[].date_from:string periods[].date_until:string ?custom_attributes:object vp_rewards[]:object
			?media_list[]:object ?long_description:string order:integer item_id:integer`),
		prefixed(parent+".price", quoteFields), prefixed(parent+".virtual_prices[]", virtualPriceFields), prefixed(parent+".promotions[]", promotionFields), prefixed(parent+".limits", limitFields),
		prefixed(parent+".attributes[]", attributeFields), prefixed(parent+".groups[]", groupFields),
	}, " ")
}

func list(fields string) string { return "has_more:boolean items[]:object " + fields }

// clientFields are the answers of 200, by method and path below the project.
func clientFields() map[string]string {
	good := itemFields("items[]") + " " + prefixed("items[]", `?virtual_item_type:string ?inventory_options:object`) + " " + prefixed("items[].inventory_options", optionFields)
	cart := `cart_id:string is_free:boolean price:object items[]:object promotions[]:object ?warnings[]:object warnings[].sku:string warnings[].quantity:integer warnings[].errorCode:integer warnings[].errorMessage:string ` +
		prefixed("price", quoteFields) + " " + prefixed("items[].price", quoteFields) + " " + prefixed("items[].virtual_prices[]", virtualPriceFields) + " " +
		prefixed("items[]", `sku:string name:string description:string type:string ?virtual_item_type:string image_url:string groups[]:object attributes[]:object ?inventory_options:object quantity:integer
			is_free:boolean is_bonus:boolean promotions[]:object can_be_bought:boolean limits:object periods[]:object vp_rewards[]:object`)
	made := `order_id:integer ?token:string`
	order := `order_id:integer status:string content:object content.is_free:boolean content.price:object content.virtual_price:object content.items[]:object ` + prefixed("content.price", quoteFields) + " " +
		prefixed("content.virtual_price", quoteFields) + " " + prefixed("content.items[]", `sku:string quantity:integer is_free:boolean price:object`)
	changed := `count:integer operations[]:object operations[].user_id:string ?operations[].platform:string ?operations[].comment:string operations[].items[]:object operations[].items[].sku:string
		operations[].items[].quantity:integer operations[].items[].balance:integer`
	limited := prefixed("items[]", `sku:string name:string description:string type:string virtual_item_type:string image_url:string status:string expired_at:integer`)
	return map[string]string{
		"GET items/virtual_items":                     list(good),
		"GET items/virtual_items/group/{external_id}": list(good),
		"GET items/virtual_items/all":                 `items[]:object ` + prefixed("items[]", `sku:string name:string description:string groups[]:object`),
		"GET items/groups":                            `groups[]:object ` + prefixed("groups[]", `external_id:string name:string description:string image_url:string order:integer level:integer parent_external_id:string children[]:object`),
		"GET items/virtual_currency":                  list(itemFields("items[]")),
		"GET items/virtual_currency/package":          list(itemFields("items[]") + " items[].bundle_type:string items[].content[]:object " + prefixed("items[].content[]", `sku:string name:string type:string description:string image_url:string quantity:integer`)),
		"GET items/bundle":                            list(itemFields("items[]") + " items[].bundle_type:string items[].total_content_price:object items[].content[]:object " + prefixed("items[].content[]", `sku:string name:string type:string description:string image_url:string quantity:integer`)),
		"GET items/game":                              list(prefixed("items[]", `sku:string name:string groups[]:object attributes[]:object type:string unit_type:string description:string image_url:string promotions[]:object unit_items[]:object`) + " " + prefixed("items[].unit_items[]", `sku:string type:string is_free:boolean price:object virtual_prices[]:object can_be_bought:boolean drm_name:string drm_sku:string has_keys:boolean is_pre_order:boolean release_date:string promotions[]:object periods[]:object vp_rewards[]:object`)),
		"GET items/game/drm":                          `drm[]:object ` + prefixed("drm[]", `sku:string name:string image:string link:string redeem_instruction_link:string drm_id:integer`),
		"GET cart":                                    cart,
		"GET cart/{cart_id}":                          cart,
		"PUT cart/fill":                               cart,
		"PUT cart/{cart_id}/fill":                     cart,
		"POST payment/cart":                           made,
		"POST payment/cart/{cart_id}":                 made,
		"POST payment/item/{item_sku}":                made,
		"POST free/item/{item_sku}":                   made,
		"GET order/{order_id}":                        order,
		"GET user/inventory/items":                    `items[]:object ` + prefixed("items[]", `sku:string name:string description:string type:string virtual_item_type:string image_url:string attributes[]:object groups[]:object quantity:integer remaining_uses:integer instance_id:string`),
		"GET user/time_limited_items":                 `items[]:object ` + limited,
		"GET user/subscriptions":                      `items[]:object ` + limited,
		"GET user/virtual_currency_balance":           `items[]:object ` + prefixed("items[]", `sku:string type:string name:string description:string image_url:string amount:integer`),
		"POST inventory/reward":                       changed,
		"POST inventory/purchase":                     changed,
		"POST inventory/set":                          changed,
		"POST inventory/revoke":                       changed,
		"POST /api/v3/project/{project_id}/admin/order/search": `orders[]:object total_items_count:integer has_more:boolean ` + prefixed("orders[]", `order_id:integer project_id:integer status:string date_created:string mode:string is_free:boolean invoice_id:string price:object
			price.amount:string price.amount_without_discount:string price.currency:string price.is_virtual_currency:boolean user:object user.id:string user.country:string items[]:object items[].sku:string items[].type:string items[].quantity:integer items[].is_free:boolean items[].is_bonus:boolean items[].price:object`),
	}
}

// Every field that clients know has its name, its type and its place here, and is always there unless it may be missing there, too.
func TestAnswersHaveTheFieldsThatClientsKnow(t *testing.T) {
	t.Parallel()
	for call, fields := range clientFields() {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			method, path, _ := strings.Cut(call, " ")
			if !strings.HasPrefix(path, "/") {
				path = "/api/v2/project/{project_id}/" + path
			}
			operation := testDoc().Paths.Value(path).GetOperation(method)
			answer := operation.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema
			var wrong []string
			for field := range strings.FieldsSeq(fields) {
				if mistake := lookFor(answer, field); mistake != "" {
					wrong = append(wrong, field+": "+mistake)
				}
			}
			require.Empty(t, wrong, strings.Join(wrong, "\n"))
		})
	}
}

// lookFor tells what is wrong with a field of the answer; empty: nothing.
func lookFor(answer *openapi3.SchemaRef, field string) string {
	name, optional := strings.CutPrefix(field, "?")
	path, kind, _ := strings.Cut(name, ":")
	schema := answer.Value
	steps := strings.Split(path, ".")
	for i, step := range steps {
		step, isList := strings.CutSuffix(step, "[]")
		property, required := propertyOf(schema, step)
		switch {
		case property == nil:
			return "there is none"
		case i == len(steps)-1 && !required && !optional:
			return "is not always there"
		case isList && !kindOf(property, "array"):
			return step + " is no list"
		case isList:
			property = property.Items.Value
		}
		schema = property
	}
	if !kindOf(schema, kind) {
		return fmt.Sprint("is ", schema.Type, ", not ", kind)
	}
	return ""
}

// propertyOf looks into all parts of a schema.
func propertyOf(schema *openapi3.Schema, name string) (property *openapi3.Schema, required bool) {
	if found, ok := schema.Properties[name]; ok {
		property = found.Value
	}
	required = slices.Contains(schema.Required, name)
	for _, part := range schema.AllOf {
		inner, innerRequired := propertyOf(part.Value, name)
		if property == nil {
			property = inner
		}
		required = required || innerRequired
	}
	return property, required
}

func kindOf(schema *openapi3.Schema, kind string) bool {
	if schema.Type != nil {
		return schema.Type.Is(kind)
	}
	return slices.ContainsFunc(schema.AllOf, func(part *openapi3.SchemaRef) bool { return kindOf(part.Value, kind) })
}
