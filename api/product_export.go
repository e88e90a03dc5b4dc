package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"

	"github.com/quickpass/quickpass/internal/store"
)

const exportPage = 200 // products read at a time

// AdminExportProducts writes all settings of all products as the import takes them.
func (h *handlers) AdminExportProducts(ctx context.Context, r AdminExportProductsRequestObject) (AdminExportProductsResponseObject, error) {
	export := &productExport{handlers: h, call: callOf(ctx), csv: value(r.Params.Format) == Csv}
	first, err := export.read("")
	export.first = first
	return export, err
}

// productExport is an answer that is written page by page, each read by itself: a client that reads slowly holds no
// connection to the database.
type productExport struct {
	*handlers
	call  *call
	csv   bool
	first []store.Offer
}

func (e *productExport) read(after string) ([]store.Offer, error) {
	ctx, cancel := context.WithTimeout(e.call.client, e.timeout)
	defer cancel()
	return e.db.ListProducts(ctx, e.call.key.ProjectID, after, exportPage)
}

// VisitAdminExportProductsResponse writes the pages.
func (e *productExport) VisitAdminExportProductsResponse(w http.ResponseWriter) error {
	media, name := "application/json", "products.json"
	var rows rowWriter = &jsonRows{to: w}
	if e.csv {
		media, name = "text/csv; charset=utf-8; header=present", "products.csv"
		rows = newCSVRows(w)
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	if err := e.write(rows); err != nil {
		return &brokenOff{err}
	}
	return nil
}

func (e *productExport) write(rows rowWriter) error {
	for offers := e.first; len(offers) > 0; {
		e.call.hold(e.timeout)
		for _, offer := range offers {
			if err := rows.add(rowOf(offer.Product)); err != nil {
				return err
			}
		}
		if len(offers) < exportPage {
			break
		}
		var err error
		if offers, err = e.read(offers[len(offers)-1].Product.SKU); err != nil {
			return err
		}
	}
	return rows.end()
}

// rowOf is the import that makes this product.
func rowOf(p store.Product) ProductInput {
	row := ProductInput{
		Sku:         &p.SKU,
		Name:        p.Name,
		Description: &p.Description,
		Kind:        &p.Kind,
		PriceCoins:  p.PriceCoins,
		Status:      new(ProductInputStatus(p.Status)),
		Stock: &StockInput{Initial: &p.Stock.Initial, Minimum: &p.Stock.Minimum, HideAtZero: &p.Stock.HideAtZero,
			Replenishment: replenishmentBody(p.Stock.Replenishment)},
		Integration: IntegrationInput{ResourceType: &p.Integration.ResourceType, Endpoint: &p.Integration.Endpoint,
			Amount: p.Integration.Amount, Currency: p.Integration.Currency},
		Delivery: &DeliveryInput{Method: new(DeliveryInputMethod(p.Delivery.Method)), TimeoutSeconds: &p.Delivery.TimeoutSeconds,
			Retries: &p.Delivery.Retries, RetryIntervalSeconds: &p.Delivery.RetryIntervalSeconds},
		Group:           &p.Group,
		Position:        &p.Position,
		Limits:          &p.Limits,
		Schedule:        &p.Schedule,
		Requires:        &p.Requires,
		ValiditySeconds: &p.ValiditySeconds,
	}
	if len(p.Integration.Parameters) > 0 {
		row.Integration.Parameters = &p.Integration.Parameters
	}
	return row
}

type rowWriter interface {
	add(row ProductInput) error
	end() error
}

// jsonRows writes one array, a line for each product.
type jsonRows struct {
	to    io.Writer
	began bool
}

func (j *jsonRows) add(row ProductInput) error {
	encoded, err := json.Marshal(row)
	if err != nil {
		return err
	}
	between := ",\n"
	if !j.began {
		between, j.began = "[\n", true
	}
	_, err = io.WriteString(j.to, between+string(encoded))
	return err
}

func (j *jsonRows) end() error {
	if !j.began {
		_, err := io.WriteString(j.to, "[]\n")
		return err
	}
	_, err := io.WriteString(j.to, "\n]\n")
	return err
}

// csvRows writes a header and a line for each product.
type csvRows struct {
	to    *csv.Writer
	began bool
}

func newCSVRows(w io.Writer) *csvRows {
	rows := &csvRows{to: csv.NewWriter(w)}
	rows.to.UseCRLF = true
	return rows
}

func (c *csvRows) add(row ProductInput) error {
	cells, err := cellsOf(row)
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	return c.to.Write(cells)
}

func (c *csvRows) begin() error {
	if c.began {
		return nil
	}
	c.began = true
	return c.to.Write(csvColumns)
}

func (c *csvRows) end() error {
	if err := c.begin(); err != nil {
		return err
	}
	c.to.Flush()
	return c.to.Error()
}
