package inventory

// Key is a game key that a user was given. Its code is worth the game: only its user, the project's server
// and who may read its order are told.
type Key struct {
	SKU  string `json:"sku"`
	DRM  string `json:"drm_sku"` // where it is redeemed, see catalog.DRMs
	Code string `json:"code"`
}
