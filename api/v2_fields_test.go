package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// Fields of answers that existing clients read, by the type they read them with; those after a `?` are not in
// every answer. What is in a list ends its name with []. Sources are the public references of that API; where
// they contradict each other, what its clients read counts (docs/decisions.md).
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

// prefixed puts all fields below another; an empty one is the answer itself.
func prefixed(parent, fields string) string {
	var all []string
	for field := range strings.FieldsSeq(fields) {
		name, optional := strings.CutPrefix(field, "?")
		if name = strings.TrimPrefix(parent+"."+name, "."); optional {
			name = "?" + name
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// itemFields are those of what is sold, whatever its type, but for game keys.
func itemFields() string {
	return sellableFields() + ` ?custom_attributes:object ?media_list[]:object ?long_description:string order:integer`
}

// sellableFields are those that game keys have, too.
func sellableFields() string {
	return strings.Join([]string{
		`sku:string name:string description:string type:string groups[]:object attributes[]:object image_url:string is_free:boolean price:object virtual_prices[]:object
			can_be_bought:boolean promotions[]:object limits:object periods[]:object periods[].date_from:string periods[].date_until:string vp_rewards[]:object item_id:integer`,
		prefixed("price", quoteFields), prefixed("virtual_prices[]", virtualPriceFields), prefixed("promotions[]", promotionFields), prefixed("limits", limitFields),
		prefixed("attributes[]", attributeFields), prefixed("groups[]", groupFields),
	}, " ")
}

func list(fields string) string { return "has_more:boolean " + items(fields) }

func items(fields string) string { return "items[]:object " + prefixed("items[]", fields) }

// clientFields are the answers, by method and path below the project.
func clientFields() map[string]string {
	good := itemFields() + ` ?virtual_item_type:string ?inventory_options:object ` + prefixed("inventory_options", optionFields)
	content := `bundle_type:string content[]:object ` + prefixed("content[]", `sku:string name:string type:string description:string image_url:string quantity:integer`)
	currency, pack, bundle := itemFields(), itemFields()+" "+content, itemFields()+" total_content_price:object "+content
	unitItem := `sku:string type:string is_free:boolean price:object virtual_prices[]:object can_be_bought:boolean drm_name:string drm_sku:string has_keys:boolean is_pre_order:boolean
		release_date:string promotions[]:object periods[]:object vp_rewards[]:object`
	unit := `sku:string name:string groups[]:object attributes[]:object type:string unit_type:string description:string image_url:string promotions[]:object unit_items[]:object ` + prefixed("unit_items[]", unitItem)
	key := unitItem + " " + sellableFields()
	cart := `cart_id:string is_free:boolean price:object promotions[]:object ?warnings[]:object warnings[].sku:string warnings[].quantity:integer warnings[].errorCode:integer warnings[].errorMessage:string ` +
		prefixed("price", quoteFields) + " " + prefixed("items[].price", quoteFields) + " " + prefixed("items[].virtual_prices[]", virtualPriceFields) + " " +
		items(`sku:string name:string description:string type:string ?virtual_item_type:string image_url:string groups[]:object attributes[]:object ?inventory_options:object quantity:integer
			is_free:boolean is_bonus:boolean promotions[]:object can_be_bought:boolean limits:object periods[]:object vp_rewards[]:object`)
	made, free := `order_id:integer ?token:string`, `order_id:integer`
	order := `order_id:integer status:string content:object content.is_free:boolean content.price:object content.virtual_price:object content.items[]:object ` + prefixed("content.price", quoteFields) + " " +
		prefixed("content.virtual_price", quoteFields) + " " + prefixed("content.items[]", `sku:string quantity:integer is_free:boolean price:object`)
	changed := `count:integer operations[]:object operations[].user_id:string ?operations[].platform:string ?operations[].comment:string operations[].items[]:object operations[].items[].sku:string
		operations[].items[].quantity:integer operations[].items[].balance:integer`
	limited := items(`sku:string name:string description:string type:string virtual_item_type:string image_url:string status:string expired_at:integer`)
	return map[string]string{
		"GET items":                                                   list(sellableFields()),
		"GET items/sku/{sku}":                                         sellableFields(),
		"GET items/id/{item_id}":                                      sellableFields(),
		"GET items/group/{external_id}":                               list(sellableFields()),
		"GET items/virtual_items":                                     list(good),
		"GET items/virtual_items/sku/{item_sku}":                      good,
		"GET items/virtual_items/group/{external_id}":                 list(good),
		"GET items/virtual_items/all":                                 items(`sku:string name:string description:string groups[]:object`),
		"GET items/groups":                                            `groups[]:object ` + prefixed("groups[]", `external_id:string name:string description:string image_url:string order:integer level:integer parent_external_id:string children[]:object`),
		"GET items/virtual_currency":                                  list(currency),
		"GET items/virtual_currency/sku/{sku}":                        currency,
		"GET items/virtual_currency/package":                          list(pack),
		"GET items/virtual_currency/package/sku/{sku}":                pack,
		"GET items/bundle":                                            list(bundle),
		"GET items/bundle/sku/{sku}":                                  bundle,
		"GET items/bundle/group/{external_id}":                        list(bundle),
		"GET items/game":                                              list(unit),
		"GET items/game/sku/{item_sku}":                               unit,
		"GET items/game/group/{external_id}":                          list(unit),
		"GET items/game/key/sku/{item_sku}":                           key,
		"GET items/game/key/group/{external_id}":                      list(key),
		"GET items/game/drm":                                          `drm[]:object ` + prefixed("drm[]", `sku:string name:string image:string link:string redeem_instruction_link:string drm_id:integer`),
		"POST admin/items/virtual_items":                              `sku:string`,
		"GET cart":                                                    cart,
		"GET cart/{cart_id}":                                          cart,
		"PUT cart/fill":                                               cart,
		"PUT cart/{cart_id}/fill":                                     cart,
		"PUT /api/v2/admin/project/{project_id}/cart/fill":            cart,
		"PUT /api/v2/admin/project/{project_id}/cart/{cart_id}/fill":  cart,
		"POST payment/cart":                                           made,
		"POST payment/cart/{cart_id}":                                 made,
		"POST payment/item/{item_sku}":                                made,
		"POST payment/item/{item_sku}/virtual/{virtual_currency_sku}": free,
		"POST free/cart":                                              free,
		"POST free/cart/{cart_id}":                                    free,
		"POST free/item/{item_sku}":                                   free,
		"POST /api/v3/project/{project_id}/admin/payment/token":       made,
		"GET order/{order_id}":                                        order,
		"GET user/inventory/items":                                    items(`sku:string name:string description:string type:string virtual_item_type:string image_url:string attributes[]:object groups[]:object quantity:integer remaining_uses:integer instance_id:string`),
		"GET user/time_limited_items":                                 limited,
		"GET user/subscriptions":                                      limited,
		"GET user/virtual_currency_balance":                           items(`sku:string type:string name:string description:string image_url:string amount:integer`),
		"POST user/inventory/item/consume":                            ``, // no more than 200 is known
		"POST inventory/reward":                                       changed,
		"POST inventory/purchase":                                     changed,
		"POST inventory/set":                                          changed,
		"POST inventory/revoke":                                       changed,
		"GET admin/webhook":                                           `url:string secret:string is_enabled:boolean version:integer`,
		"POST /api/v3/project/{project_id}/admin/order/search": `orders[]:object total_items_count:integer has_more:boolean ` + prefixed("orders[]", `order_id:integer project_id:integer status:string date_created:string mode:string is_free:boolean invoice_id:string price:object
			price.amount:string price.amount_without_discount:string price.currency:string price.is_virtual_currency:boolean user:object user.id:string user.country:string user.email:string user.region_id:integer promotions[]:object coupons[]:object
			items[]:object items[].order_item_id:string items[].item_id:integer items[].sku:string items[].type:string items[].quantity:integer items[].is_free:boolean items[].is_bonus:boolean
			items[].region_id:integer items[].tax_category:string items[].price:object items[].description:object items[].description.name:string items[].description.image_url:string items[].description.description:string`),
	}
}

// ownCalls are below the same addresses, and that API has none like them.
var ownCalls = []string{"POST order/{order_id}/cancel", "GET entitlements/{user}/{sku}"}

// clientAnswers are the answers to the calls of /api/v2 and /api/v3 that tell something, by method and path
// below the project.
func clientAnswers() map[string]*openapi3.SchemaRef {
	answers := map[string]*openapi3.SchemaRef{}
	for path, item := range testDoc().Paths.Map() {
		if !strings.HasPrefix(path, "/api/v2/") && !strings.HasPrefix(path, "/api/v3/") {
			continue
		}
		for method, operation := range item.Operations() {
			for _, status := range []int{http.StatusOK, http.StatusCreated} {
				if response := operation.Responses.Status(status); response != nil && response.Value.Content.Get("application/json") != nil {
					answers[method+" "+strings.TrimPrefix(path, "/api/v2/project/{project_id}/")] = response.Value.Content.Get("application/json").Schema
				}
			}
		}
	}
	return answers
}

// Every field that clients know has its name, its type and its place here, and is always there unless it may
// be missing there, too.
func TestAnswersHaveTheFieldsThatClientsKnow(t *testing.T) {
	t.Parallel()
	answers, known := clientAnswers(), clientFields()
	require.ElementsMatch(t, slices.Collect(maps.Keys(answers)), slices.AppendSeq(slices.Clone(ownCalls), maps.Keys(known)))
	for call, fields := range known {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			var wrong []string
			for field := range strings.FieldsSeq(fields) {
				if mistake := lookFor(answers[call], field); mistake != "" {
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
	return lookAlong(answer.Value, strings.Split(path, "."), kind, optional)
}

// lookAlong a path; where a schema has several forms, each must have what is left of it.
func lookAlong(schema *openapi3.Schema, path []string, kind string, optional bool) string {
	for _, form := range schema.AnyOf {
		if mistake := lookAlong(form.Value, path, kind, optional); mistake != "" {
			return mistake
		}
	}
	switch {
	case len(schema.AnyOf) > 0:
		return ""
	case len(path) == 0 && !kindOf(schema, kind):
		return fmt.Sprint("is ", schema.Type, ", not ", kind)
	case len(path) == 0:
		return ""
	}
	step, isList := strings.CutSuffix(path[0], "[]")
	property, required := propertyOf(schema, step)
	switch {
	case property == nil:
		return "there is none"
	case len(path) == 1 && !required && !optional:
		return "is not always there"
	case isList && !kindOf(property, "array"):
		return step + " is no list"
	case isList:
		property = property.Items.Value
	}
	return lookAlong(property, path[1:], kind, optional)
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
