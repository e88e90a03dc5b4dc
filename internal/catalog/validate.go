package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// FieldError is one mistake in an item or a group.
type FieldError struct {
	Field   string
	Message string
}

const (
	maxOrder            = 1_000_000
	maxAttributes       = 20
	maxAttributeValues  = 6
	maxList             = 100 // prices, media, groups, sale periods, promotions, lines of a bundle
	maxContent          = 1_000_000
	maxPieces           = 1_000_000_000 // of anything
	maxCustomAttributes = 500           // characters

	externalIDRule = "1 to 255 letters, digits, '.', '_' or '-'"
	urlRule        = "an http or https URL of at most 2,048 characters"
	orderRule      = "from 0 to 1,000,000"
	amountRule     = "above 0, at most 1,000,000,000,000, at most two decimals more than the currency has"
)

var externalIDPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)

// mistakes collects what is wrong, all at once.
type mistakes []FieldError

func (m *mistakes) check(ok bool, field, message string) {
	if !ok {
		*m = append(*m, FieldError{field, message})
	}
}

// text checks each language; a text that must not be empty needs at least one.
func (m *mistakes) text(t Text, field string, min, max int) {
	m.check(len(t) <= maxList, field, "at most 100 languages")
	m.check(min == 0 || len(t) > 0, field, `at least one language, such as {"en": "..."}`)
	for locale, text := range t {
		m.check(validLocale(locale), field, fmt.Sprintf("%.20q is not a language such as en or pt-BR", locale))
		m.check(readable(text, min, max), fmt.Sprintf("%s.%.20s", field, locale), fmt.Sprintf("%d to %d readable characters", min, max))
	}
}

// readable allows line breaks and tabs, and no other control characters.
func readable(s string, min, max int) bool {
	for _, r := range s {
		if (r < ' ' && r != '\n' && r != '\t') || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	n := utf8.RuneCountInString(s)
	return n >= min && n <= max && strings.TrimSpace(s) == s
}

func validURL(s string, mayBeEmpty bool) bool {
	if s == "" {
		return mayBeEmpty
	}
	parsed, err := url.Parse(s)
	return err == nil && len(s) <= 2048 && readable(s, 1, 2048) && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != ""
}

// validSKU leaves out the names that a URL's path swallows, and the wallet's.
func validSKU(sku string) bool {
	return externalIDPattern.MatchString(sku) && strings.Trim(sku, ".") != "" && sku != CoinsSKU
}

// Validate lists every mistake at once. The lookup knows the other items of the project, whatever their status.
func (i Item) Validate(lookup func(sku string) (Item, bool)) []FieldError {
	var m mistakes
	i.validateKind(&m)
	i.validateTexts(&m)
	i.validateLists(&m)
	i.validatePrices(&m, lookup)
	i.validateInventory(&m)
	i.validateLimits(&m)
	for k := range i.Promotions {
		i.validatePromotion(k, &m, lookup)
	}
	i.validateContent(&m, lookup)
	i.validateKey(&m, lookup)
	i.validateMainProduct(&m, lookup)
	return m
}

func (i Item) validateKind(m *mistakes) {
	m.check(validSKU(i.SKU), "sku", externalIDRule+`, and not "coins"`)
	switch i.Type {
	case VirtualGood, VirtualCurrency, Bundle, Unit, GameKey:
	default:
		m.check(false, "type", "virtual_good, virtual_currency, bundle, unit or game_key")
	}
	switch i.VirtualItemType {
	case Consumable, NonConsumable, NonRenewingSubscription:
		m.check(i.Type == VirtualGood, "virtual_item_type", "only virtual goods have one")
	default:
		m.check(i.Type != VirtualGood && i.VirtualItemType == "", "virtual_item_type", "consumable, non_consumable or non_renewing_subscription, for virtual goods")
	}
	switch i.BundleType {
	case StandardBundle, CurrencyPackage:
		m.check(i.Type == Bundle, "bundle_type", "only bundles have one")
	default:
		m.check(i.Type != Bundle && i.BundleType == "", "bundle_type", "standard or virtual_currency_package, for bundles")
	}
	m.check(i.Status == Draft || i.Status == Published, "status", "draft or published")
}

func (i Item) validateTexts(m *mistakes) {
	m.text(i.Name, "name", 1, 200)
	m.text(i.Description, "description", 0, 2000)
	m.text(i.LongDescription, "long_description", 0, 10_000)
	m.check(validURL(i.ImageURL, true), "image_url", urlRule)
	m.check(i.Order >= 0 && i.Order <= maxOrder, "order", orderRule)
	canonical, err := store.CanonicalParameters(i.CustomAttributes)
	m.check(err == nil && utf8.RuneCount(canonical) <= maxCustomAttributes && !bytes.Contains(canonical, []byte(`\u0000`)),
		"custom_attributes", "a JSON object of at most 500 characters and 4 levels, without NUL characters")
}

func (i Item) validateLists(m *mistakes) {
	m.check(len(i.MediaList) <= maxList, "media_list", "at most 100")
	for k, media := range i.MediaList {
		m.check((media.Type == "image" || media.Type == "video") && validURL(media.URL, false), fmt.Sprintf("media_list[%d]", k), "type image or video, url "+urlRule)
	}
	m.check(len(i.Groups) <= maxList, "groups", "at most 100")
	m.each("groups", i.Groups, func(id string) bool { return externalIDPattern.MatchString(id) && id != AllGroups }, externalIDRule+`, each once, and not "all"`)
	m.check(len(i.Countries) <= 300, "countries", "at most 300")
	m.each("countries", i.Countries, validCountry, "two capital letters of ISO 3166-1, such as DE, each once")
	i.validateAttributes(m)
	m.check(len(i.Periods) <= maxList, "periods", "at most 100")
	for k, p := range i.Periods {
		m.check(storable(&p.From) && storable(p.Until) && (p.Until == nil || p.From.Before(*p.Until)), fmt.Sprintf("periods[%d]", k), "date_from before date_until, between the years 2000 and 9999")
	}
}

// each checks the parts of a list, and that none comes twice.
func (m *mistakes) each(field string, list []string, valid func(string) bool, rule string) {
	seen := map[string]bool{}
	for k, one := range list {
		m.check(valid(one) && !seen[one], fmt.Sprintf("%s[%d]", field, k), rule)
		seen[one] = true
	}
}

// storable keeps times within what a database and RFC 3339 can hold.
func storable(at *time.Time) bool {
	return at == nil || (at.UTC().Year() >= 2000 && at.UTC().Year() <= 9999)
}

func (i Item) validateAttributes(m *mistakes) {
	m.check(len(i.Attributes) <= maxAttributes, "attributes", "at most 20")
	seen := map[string]bool{}
	for k, a := range i.Attributes {
		field := fmt.Sprintf("attributes[%d]", k)
		m.check(externalIDPattern.MatchString(a.ExternalID) && !seen[a.ExternalID], field+".external_id", externalIDRule+", each once")
		seen[a.ExternalID] = true
		m.text(a.Name, field+".name", 1, 200)
		m.check(len(a.Values) >= 1 && len(a.Values) <= maxAttributeValues, field+".values", "1 to 6")
		values := map[string]bool{}
		for n, v := range a.Values {
			field := fmt.Sprintf("%s.values[%d]", field, n)
			m.check(externalIDPattern.MatchString(v.ExternalID) && !values[v.ExternalID], field+".external_id", externalIDRule+", each once")
			values[v.ExternalID] = true
			m.text(v.Value, field+".value", 1, 200)
		}
	}
}

func (i Item) validatePrices(m *mistakes, lookup func(string) (Item, bool)) {
	priced := len(i.Prices)+len(i.VirtualPrices) > 0
	m.check(!i.IsFree || !priced, "is_free", "a free item has no prices")
	m.check(i.Type != Unit || (!i.IsFree && !priced), "prices", "a game has no price; its keys have")
	m.check(len(i.Prices) <= 1000, "prices", "at most 1,000")
	defaults, seen := 0, map[[2]string]bool{}
	for k, p := range i.Prices {
		field := fmt.Sprintf("prices[%d]", k)
		_, known := Decimals(p.Currency)
		m.check(known, field+".currency", "three capital letters of ISO 4217, such as EUR")
		m.check(!known || ValidAmount(p.Amount, p.Currency), field+".amount", amountRule)
		m.check(p.Country == "" || validCountry(p.Country), field+".country_iso", "two capital letters of ISO 3166-1, such as DE, or left out")
		m.check(!seen[[2]string{p.Currency, p.Country}], field, "this currency and country have a price already")
		seen[[2]string{p.Currency, p.Country}] = true
		m.check(!p.IsDefault || p.Country == "", field+".is_default", "the default price is of no country")
		if p.IsDefault {
			defaults++
		}
	}
	m.check(len(i.Prices) == 0 || defaults == 1, "prices", "exactly one is the default")
	i.validateVirtualPrices(m, lookup)
}

func (i Item) validateVirtualPrices(m *mistakes, lookup func(string) (Item, bool)) {
	m.check(len(i.VirtualPrices) <= maxList, "vc_prices", "at most 100")
	defaults, seen := 0, map[string]bool{}
	for k, p := range i.VirtualPrices {
		field := fmt.Sprintf("vc_prices[%d]", k)
		currency, ok := lookup(p.SKU)
		m.check(p.SKU == CoinsSKU || (ok && currency.Type == VirtualCurrency), field+".sku", `a virtual currency that exists, or "coins"`)
		m.check(p.SKU != i.SKU, field+".sku", "a currency is not sold for itself")
		m.check(!seen[p.SKU], field+".sku", "this currency has a price already")
		seen[p.SKU] = true
		m.check(p.Amount >= 1 && p.Amount <= ledger.MaxCoins, field+".amount", "from 1 to 1,000,000,000,000")
		if p.IsDefault {
			defaults++
		}
	}
	m.check(len(i.VirtualPrices) == 0 || defaults == 1, "vc_prices", "exactly one is the default")
}

func (i Item) validateInventory(m *mistakes) {
	consumable, period := i.InventoryOptions.Consumable, i.InventoryOptions.ExpirationPeriod
	m.check(consumable == nil || i.VirtualItemType == Consumable, "inventory_options.consumable", "only consumables have it")
	m.check(consumable == nil || (consumable.UsagesCount >= 1 && consumable.UsagesCount <= maxContent), "inventory_options.consumable.usages_count", "from 1 to 1,000,000")
	m.check((period != nil) == (i.VirtualItemType == NonRenewingSubscription), "inventory_options.expiration_period", "a non_renewing_subscription has it, and nothing else")
	if period != nil {
		err := period.Validate()
		m.check(!errors.Is(err, subscriptions.ErrInvalidPeriod), "inventory_options.expiration_period", subscriptions.ErrInvalidPeriod.Error())
		m.check(!errors.Is(err, subscriptions.ErrTooLong), "inventory_options.expiration_period", subscriptions.ErrTooLong.Error())
	}
}

func (i Item) validateLimits(m *mistakes) {
	m.check(i.Limits.PerUser >= 0 && i.Limits.PerUser <= maxPieces, "limits.per_user", "from 0 (no limit) to 1,000,000,000 pieces")
	m.check(i.Limits.PerItem >= 0 && i.Limits.PerItem <= maxPieces, "limits.per_item", "from 0 (no limit) to 1,000,000,000 pieces")
	recurrence := i.Limits.Recurrent.PerUser
	if recurrence == nil {
		return
	}
	m.check(i.Limits.PerUser > 0, "limits.recurrent_schedule.per_user", "needs limits.per_user")
	m.check(recurrence.Interval == Daily || recurrence.Interval == Weekly || recurrence.Interval == Monthly,
		"limits.recurrent_schedule.per_user.interval_type", "daily, weekly or monthly")
	zone, err := time.LoadLocation(recurrence.TimeZone)
	m.check(err == nil && zone != time.Local, "limits.recurrent_schedule.per_user.time_zone", "an IANA time zone, such as Europe/Moscow")
}

func (i Item) validatePromotion(k int, m *mistakes, lookup func(string) (Item, bool)) {
	p, field := i.Promotions[k], fmt.Sprintf("promotions[%d]", k)
	m.check(k < maxList, "promotions", "at most 100")
	m.check(externalIDPattern.MatchString(p.ID), field+".id", externalIDRule)
	for _, earlier := range i.Promotions[:k] {
		m.check(earlier.ID != p.ID, field+".id", "another promotion has it")
	}
	m.text(p.Name, field+".name", 1, 200)
	m.check(storable(p.From) && storable(p.Until) && (p.From == nil || p.Until == nil || p.From.Before(*p.Until)), field+".date_end", "after date_start, between the years 2000 and 9999")
	m.check(p.Discount != nil || len(p.Bonus) > 0, field, "a discount, bonus items, or both")
	m.check(p.Discount.valid(), field+".discount", "a percent above 0 and at most 100 with 2 decimals, or a value ("+amountRule+") and its currency")
	m.check(p.Limits.PerUser >= 0 && p.Limits.PerUser <= maxPieces, field+".limits.per_user", "from 0 (no limit) to 1,000,000,000")
	m.check(len(p.Bonus) <= maxList, field+".bonus", "at most 100")
	for n, line := range p.Bonus {
		field := fmt.Sprintf("%s.bonus[%d]", field, n)
		bonus, ok := lookup(line.SKU)
		m.check(ok && bonus.Type != Unit, field+".sku", "an item that exists and is no game")
		m.check(line.Quantity >= 1 && line.Quantity <= maxContent, field+".quantity", "from 1 to 1,000,000")
	}
}

func (d *Discount) valid() bool {
	switch {
	case d == nil:
		return true
	case d.Percent != nil && d.Value == nil:
		return d.Currency == "" && d.Percent.IsPositive() && d.Percent.LessThanOrEqual(hundred) && whole(*d.Percent, 2)
	case d.Value != nil && d.Percent == nil:
		return ValidAmount(*d.Value, d.Currency)
	default:
		return false
	}
}

// validateContent also finds a bundle that would contain itself through others.
func (i Item) validateContent(m *mistakes, lookup func(string) (Item, bool)) {
	if i.Type != Bundle {
		m.check(len(i.Content) == 0, "content", "only bundles have it")
		return
	}
	m.check(len(i.Content) >= 1 && len(i.Content) <= maxList, "content", "1 to 100 lines")
	sound, seen := len(i.Content) >= 1, map[string]bool{}
	for k, line := range i.Content {
		part, ok := lookup(line.SKU)
		field, before := fmt.Sprintf("content[%d]", k), len(*m)
		m.check(line.SKU == i.SKU || (ok && part.Type != Unit), field+".sku", "an item that exists and is no game")
		m.check(!seen[line.SKU], field+".sku", "another line has it")
		m.check(line.Quantity >= 1 && line.Quantity <= maxContent, field+".quantity", "from 1 to 1,000,000")
		m.check(i.BundleType != CurrencyPackage || part.Type == VirtualCurrency, field+".sku", "a package holds a virtual currency")
		seen[line.SKU] = true
		sound = sound && len(*m) == before
	}
	m.check(i.BundleType != CurrencyPackage || len(i.Content) == 1, "content", "a package holds exactly one currency")
	if !sound {
		return
	}
	if _, err := unfold(i, 1, lookup); err != nil {
		m.check(false, "content", err.Error())
	}
}

func (i Item) validateKey(m *mistakes, lookup func(string) (Item, bool)) {
	m.check(storable(i.ReleaseDate), "release_date", "between the years 2000 and 9999")
	if i.Type != GameKey {
		m.check(i.UnitSKU == "", "unit_sku", "only game keys have it")
		m.check(i.DRM == "", "drm_sku", "only game keys have it")
		m.check(!i.IsPreOrder && i.ReleaseDate == nil, "is_pre_order", "only game keys are ordered before their release")
		return
	}
	unit, ok := lookup(i.UnitSKU)
	m.check(ok && unit.Type == Unit, "unit_sku", "a game that exists")
	_, known := drmBySKU(i.DRM)
	m.check(known, "drm_sku", "one of the platforms of GET /items/game/drm")
}

// ValidateEdit lists what an edit must not change: carts, orders and inventories rely on it.
func ValidateEdit(before, after Item) []FieldError {
	var m mistakes
	m.check(before.SKU == after.SKU, "sku", "is given when an item is created")
	m.check(before.Type == after.Type && before.BundleType == after.BundleType, "type", "is given when an item is created")
	m.check(before.VirtualItemType == after.VirtualItemType, "virtual_item_type", "is given when an item is created")
	m.check(before.UnitSKU == after.UnitSKU && before.DRM == after.DRM, "drm_sku", "is given when a key is created")
	return m
}

// canonical writes what can be written in several ways always in the same: times in UTC, custom attributes sorted.
func (i Item) canonical() Item {
	i.Periods, i.Promotions = orNil(orEmpty(i.Periods)), orNil(orEmpty(i.Promotions)) // copies: the caller's stay as they are
	for k, p := range i.Periods {
		i.Periods[k] = SalePeriod{p.From.UTC(), inUTC(p.Until)}
	}
	for k, p := range i.Promotions {
		i.Promotions[k].From, i.Promotions[k].Until = inUTC(p.From), inUTC(p.Until)
	}
	i.ReleaseDate, i.MainProduct = inUTC(i.ReleaseDate), i.MainProduct.canonical()
	if custom, err := store.CanonicalParameters(i.CustomAttributes); err == nil {
		i.CustomAttributes = custom
	}
	return i
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// Same tells whether an edit to the other would change nothing.
func (i Item) Same(other Item) bool {
	mine, err := json.Marshal(i.canonical())
	if err != nil {
		return false
	}
	theirs, err := json.Marshal(other.canonical())
	return err == nil && bytes.Equal(mine, theirs)
}
