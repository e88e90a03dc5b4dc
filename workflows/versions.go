package workflows

// Names of the changes that released workflows have learned since, for workflow.GetVersion. Once given, a
// name stays as long as a history may hold it.
const (
	// changeCheckoutDeliveries: an order asks the main product for its part of the lines.
	changeCheckoutDeliveries = "checkout-deliveries"
)
