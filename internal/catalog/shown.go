package catalog

import (
	"encoding/json"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/ledger"
)

// ShowItem shows a virtual good or a virtual currency, and what all other forms have in common with it.
func (c *Catalog) ShowItem(item Item, view View) ShownItem {
	quote, virtual := c.prices(item, view)
	shown := ShownItem{
		ItemID: item.ItemID, SKU: item.SKU, Type: item.Type, VirtualItemType: item.VirtualItemType,
		Name: view.in(item.Name), Description: view.in(item.Description), ImageURL: orNull(item.ImageURL),
		Groups: c.groupNames(item, view), Attributes: attributes(item, view),
		IsFree: isFree(item, quote), Price: quote, VirtualPrices: virtual, CanBeBought: c.canBeBought(item, quote, virtual, view),
		InventoryOptions: item.InventoryOptions, Promotions: c.promotions(item, view), Limits: limits(item, view),
		Periods: orEmpty(item.Periods), CustomAttributes: orObject(item.CustomAttributes), VPRewards: []struct{}{}, Order: item.Order,
	}
	shown.MediaList, shown.LongDescription = extras(item, view)
	return shown
}

// ShowBundle shows a standard bundle.
func (c *Catalog) ShowBundle(item Item, view View) ShownBundle {
	shown := ShownBundle{ShownItem: c.ShowItem(item, view), BundleType: item.BundleType, Content: []ShownContent{}}
	for _, line := range item.Content {
		if part, ok := c.items[line.SKU]; ok {
			shown.Content = append(shown.Content, c.content(part, line.Quantity, view))
		}
	}
	shown.TotalContentPrice = totalOf(shown.Content)
	return shown
}

// ShowPackage shows a package of virtual currency.
func (c *Catalog) ShowPackage(item Item, view View) ShownPackage {
	shown := ShownPackage{ShownItem: c.ShowItem(item, view), BundleType: item.BundleType, Content: []ShownPosition{}}
	for _, line := range item.Content {
		if part, ok := c.items[line.SKU]; ok {
			shown.Content = append(shown.Content, ShownPosition{
				ItemID:           part.ItemID,
				SKU:              part.SKU,
				Name:             view.in(part.Name),
				Type:             part.Type,
				Description:      view.in(part.Description),
				ImageURL:         orNull(part.ImageURL),
				Quantity:         line.Quantity,
				InventoryOptions: part.InventoryOptions,
				Limits:           limits(part, view),
			})
		}
	}
	return shown
}

// ShowUnit shows a game with those of its keys that are published.
func (c *Catalog) ShowUnit(item Item, view View) ShownUnit {
	shown := ShownUnit{
		ItemID:      item.ItemID,
		SKU:         item.SKU,
		Type:        item.Type,
		UnitType:    "game",
		Name:        view.in(item.Name),
		Description: view.in(item.Description),
		Groups:      c.groupNames(item, view),
		Attributes:  attributes(item, view),
		ImageURL:    orNull(item.ImageURL),
		Promotions:  c.promotions(item, view),
		UnitItems:   []ShownUnitItem{},
		Order:       item.Order,
	}
	for _, key := range c.keys[item.SKU] {
		if key.Status == Published {
			shown.UnitItems = append(shown.UnitItems, c.unitItem(key, view))
		}
	}
	shown.MediaList, shown.LongDescription = extras(item, view)
	return shown
}

// ShowKey shows a game key by itself.
func (c *Catalog) ShowKey(item Item, view View) ShownKey {
	return ShownKey{ShownUnitItem: c.unitItem(item, view), Name: view.in(item.Name), Description: view.in(item.Description),
		ImageURL: orNull(item.ImageURL), Groups: c.groupNames(item, view), Attributes: attributes(item, view), Limits: limits(item, view)}
}

// ShowShort shows the short form.
func (c *Catalog) ShowShort(item Item, view View) ShortItem {
	return ShortItem{SKU: item.SKU, Name: view.in(item.Name), Groups: c.groupNames(item, view), Description: view.in(item.Description)}
}

func (v View) in(t Text) string { return t.In(v.Locale, v.DefaultLocale) }

// isFree is true of what a discount makes free, too: it is ordered as free.
func isFree(item Item, quote *Quote) bool {
	return item.IsFree || (quote != nil && quote.Amount.IsZero())
}

func (c *Catalog) unitItem(key Item, view View) ShownUnitItem {
	quote, virtual := c.prices(key, view)
	drm, _ := drmBySKU(key.DRM)
	return ShownUnitItem{
		ItemID: key.ItemID, SKU: key.SKU, Type: key.Type, IsFree: isFree(key, quote), Price: quote, VirtualPrices: virtual,
		CanBeBought: c.canBeBought(key, quote, virtual, view), DRMName: drm.Name, DRMSKU: key.DRM, HasKeys: view.Usages[key.SKU].Keys > 0,
		IsPreOrder: key.IsPreOrder, ReleaseDate: key.ReleaseDate, Promotions: c.promotions(key, view), Periods: orEmpty(key.Periods),
		VPRewards: []struct{}{},
	}
}

func (c *Catalog) content(part Item, quantity int64, view View) ShownContent {
	quote, virtual := c.prices(part, view)
	return ShownContent{
		SKU: part.SKU, Name: view.in(part.Name), Type: part.Type, Description: view.in(part.Description), ImageURL: orNull(part.ImageURL),
		Quantity: quantity, VirtualItemType: part.VirtualItemType, Attributes: attributes(part, view), Price: quote, VirtualPrices: virtual,
		Limits: limits(part, view), IsFree: isFree(part, quote), Groups: c.groupNames(part, view),
	}
}

// totalOf is null when a part that is not free has no price in this currency, or when all are free.
func totalOf(content []ShownContent) *Quote {
	var total *Quote
	for _, line := range content {
		switch {
		case line.IsFree:
			continue
		case line.Price == nil:
			return nil
		}
		price, ok := line.Price.Times(line.Quantity)
		if ok && total != nil {
			ok = total.Currency == price.Currency
			price, _ = price.Plus(*total)
		}
		if !ok || price.WithoutDiscount.GreaterThan(MaxAmount) {
			return nil
		}
		total = &price
	}
	return total
}

// prices of one piece; a list shows an item without a price in the viewer's currency, with null.
func (c *Catalog) prices(item Item, view View) (*Quote, []ShownVirtual) {
	quote, err := item.QuoteOf(view)
	if err != nil {
		quote = nil
	}
	virtual := []ShownVirtual{}
	for _, price := range item.VirtualPrices {
		virtual = append(virtual, c.virtual(item, price, view))
	}
	return quote, virtual
}

func (i Item) virtualQuote(price VirtualPrice, view View) VirtualQuote {
	amount := i.best(decimal.NewFromInt(price.Amount), "", 0, view.Now, view.Usages[i.SKU])
	return VirtualQuote{SKU: price.SKU, Amount: amount.IntPart(), WithoutDiscount: price.Amount}
}

func (c *Catalog) virtual(item Item, price VirtualPrice, view View) ShownVirtual {
	quote := item.virtualQuote(price, view)
	shown := ShownVirtual{
		SKU:                   price.SKU,
		Name:                  "Coins",
		Type:                  VirtualCurrency,
		Amount:                quote.Amount,
		AmountWithoutDiscount: quote.WithoutDiscount,
		IsDefault:             price.IsDefault,
	}
	if currency, ok := c.items[price.SKU]; ok {
		shown.Name, shown.Description, shown.ImageURL = view.in(currency.Name), view.in(currency.Description), orNull(currency.ImageURL)
		if view.Sellable {
			shown.ItemID = currency.ItemID
		}
	}
	if view.Sellable {
		shown.CalculatedPrice = &ShownAmounts{decimal.NewFromInt(quote.Amount), decimal.NewFromInt(quote.WithoutDiscount)}
	}
	return shown
}

func (c *Catalog) canBeBought(item Item, quote *Quote, virtual []ShownVirtual, view View) bool {
	return (item.IsFree || quote != nil || len(virtual) > 0) && c.Obstacle(item, 1, view) == ""
}

func (c *Catalog) promotions(item Item, view View) []ShownPromotion {
	shown := []ShownPromotion{}
	for _, p := range item.Promotions {
		if !p.activeAt(view.Now) {
			continue
		}
		one := ShownPromotion{
			Name:      view.in(p.Name),
			DateStart: p.From,
			DateEnd:   p.Until,
			Discount:  p.Discount.show(),
			Bonus:     []ShownBonus{},
		}
		if p.Limits.PerUser > 0 {
			left := max(p.Limits.PerUser-view.Usages[item.SKU].Promotions[p.ID], 0)
			one.Limits = &ShownPromotionLimits{ShownTotal{Available: left, Total: p.Limits.PerUser}}
		}
		for _, line := range p.Bonus {
			if bonus, ok := c.items[line.SKU]; ok {
				one.Bonus = append(one.Bonus, ShownBonus{
					SKU:        line.SKU,
					Quantity:   line.Quantity,
					Type:       bonus.Type,
					Name:       view.in(bonus.Name),
					ImageURL:   orNull(bonus.ImageURL),
					BundleType: bonus.BundleType,
				})
			}
		}
		shown = append(shown, one)
	}
	return shown
}

func (d *Discount) show() *ShownDiscount {
	switch {
	case d == nil:
		return nil
	case d.Percent != nil:
		return &ShownDiscount{Percent: new(d.Percent.StringFixed(2))}
	default:
		scale, _ := Decimals(d.Currency)
		return &ShownDiscount{Value: new(d.Value.StringFixed(max(scale, -d.Value.Exponent())))}
	}
}

func limits(item Item, view View) *ShownLimits {
	usage := view.Usages[item.SKU]
	var shown ShownLimits
	if left, limited := item.Limits.leftForUser(usage); limited {
		shown.PerUser = &ShownUserLimit{ShownTotal: ShownTotal{Available: left, Total: item.Limits.PerUser}}
		if recurrence := item.Limits.Recurrent.PerUser; recurrence != nil {
			shown.PerUser.RecurrentSchedule = &ShownRecurrence{recurrence.Interval, recurrence.PeriodAt(view.Now).End.Unix()}
		}
	}
	if left, limited := item.Limits.left(usage); limited {
		shown.PerItem = &ShownItemLimit{ShownTotal{Available: left, Total: item.Limits.PerItem}, usage.Reserved, usage.Sold}
	}
	if shown == (ShownLimits{}) {
		return nil
	}
	return &shown
}

func (c *Catalog) groupNames(item Item, view View) []ShownGroupName {
	names := []ShownGroupName{}
	for _, id := range item.Groups {
		if group, ok := c.groups[id]; ok && group.IsEnabled {
			names = append(names, ShownGroupName{id, view.in(group.Name)})
		}
	}
	return names
}

func attributes(item Item, view View) []ShownAttribute {
	shown := []ShownAttribute{}
	for _, a := range item.Attributes {
		one := ShownAttribute{ExternalID: a.ExternalID, Name: view.in(a.Name), Values: []ShownAttributeValue{}}
		for _, v := range a.Values {
			one.Values = append(one.Values, ShownAttributeValue{v.ExternalID, view.in(v.Value)})
		}
		shown = append(shown, one)
	}
	return shown
}

func extras(item Item, view View) (media []Media, longDescription *string) {
	if view.MediaList {
		media = orEmpty(item.MediaList)
	}
	if view.LongDescription {
		longDescription = new(view.in(item.LongDescription))
	}
	return media, longDescription
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty[T any](list []T) []T { return append([]T{}, list...) }

func orObject(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("{}")
	}
	return raw
}

// Times is the price of so many pieces; false when it is more than a wallet can hold.
func (q VirtualQuote) Times(quantity int64) (VirtualQuote, bool) {
	if _, ok := ledger.Total(q.WithoutDiscount, quantity); !ok {
		return VirtualQuote{}, false
	}
	q.Amount *= quantity
	q.WithoutDiscount *= quantity
	return q, true
}
