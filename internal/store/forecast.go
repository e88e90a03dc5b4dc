package store

import (
	"time"

	"github.com/shopspring/decimal"
)

const (
	// recommendedDays of sales are what a recommended stock lasts for; recommendedSafety is on top, for days that
	// sell more than the average one.
	recommendedDays = 14
	day             = 24 * time.Hour
	// forecastHorizon is where a forecast ends: what lasts longer than that has no date.
	forecastHorizon = 10 * 365 * day
)

var recommendedSafety = decimal.RequireFromString("1.5")

// Consumption is what a forecast is made from.
type Consumption struct {
	Available int64         // pieces
	Minimum   int64         // pieces
	Sold      int64         // pieces of completed orders in the window
	Window    time.Duration // that ends now; above 0
	CreatedAt time.Time     // of the product: a younger one is measured since then
}

// Forecast says when a product runs out at its current rate and how much stock it should have (seed 000,
// "Consumption Forecast", "Optimal Stock"), with the numbers behind both.
type Forecast struct {
	WindowStart      time.Time
	WindowDays       decimal.Decimal  // 4 decimals
	RatePerDay       decimal.Decimal  // pieces, 4 decimals
	DaysOfCover      *decimal.Decimal // 2 decimals; nil when nothing is sold
	RunsOutAt        *time.Time       // nil when nothing is sold, or in more than 10 years
	TargetDays       int
	SafetyFactor     decimal.Decimal
	RecommendedStock int64 // pieces
	RecommendedAdd   int64 // pieces, to get there
}

// ForecastStock forecasts from the rate, which is what was sold a day in the window, or since the product is
// there, but over a day at least. The recommended stock is that rate for 14 days, times 1.5, and never below
// the minimum or above what a product may have.
func ForecastStock(c Consumption, now time.Time) Forecast {
	window := min(c.Window, max(now.Sub(c.CreatedAt), day)).Truncate(time.Second)
	seconds, perDay := decimal.NewFromInt(int64(window/time.Second)), decimal.NewFromInt(int64(day/time.Second))
	sold, target := decimal.NewFromInt(c.Sold), decimal.NewFromInt(recommendedDays)
	f := Forecast{
		WindowStart: now.Add(-window), WindowDays: seconds.Div(perDay).Round(4),
		RatePerDay: sold.Mul(perDay).Div(seconds).Round(4), TargetDays: recommendedDays, SafetyFactor: recommendedSafety,
		// Multiplied before it is divided, so that a whole number of pieces is not rounded up by a hair.
		RecommendedStock: sold.Mul(perDay).Mul(target).Mul(recommendedSafety).Div(seconds).Ceil().IntPart(),
	}
	f.RecommendedStock = min(max(f.RecommendedStock, c.Minimum), maxPieces)
	f.RecommendedAdd = max(f.RecommendedStock-c.Available, 0)
	if c.Sold == 0 {
		return f
	}
	cover := decimal.NewFromInt(c.Available).Mul(seconds).Div(sold) // in seconds
	f.DaysOfCover = new(cover.Div(perDay).Round(2))
	if cover.LessThanOrEqual(decimal.NewFromInt(int64(forecastHorizon / time.Second))) {
		f.RunsOutAt = new(now.Add(time.Duration(cover.IntPart()) * time.Second))
	}
	return f
}
