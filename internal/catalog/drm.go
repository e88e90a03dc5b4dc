package catalog

// DRM is a platform that a game key is redeemed on.
type DRM struct {
	ID                    int     `json:"drm_id"`
	SKU                   string  `json:"sku"` // the suffix of a key's SKU: <game>_<drm>
	Name                  string  `json:"name"`
	Image                 string  `json:"image"`
	Link                  *string `json:"link"`
	RedeemInstructionLink string  `json:"redeem_instruction_link"`
}

// DRMs are the platforms that clients know, in a stable order.
func DRMs() []DRM {
	return []DRM{
		{ID: 1, SKU: "steam", Name: "Steam"}, {ID: 2, SKU: "playstation", Name: "PlayStation"}, {ID: 3, SKU: "xbox", Name: "Xbox"},
		{ID: 4, SKU: "uplay", Name: "Uplay"}, {ID: 5, SKU: "origin", Name: "Origin"}, {ID: 6, SKU: "drmfree", Name: "DRM free"},
		{ID: 7, SKU: "gog", Name: "GOG"}, {ID: 8, SKU: "epicgames", Name: "Epic Games"}, {ID: 9, SKU: "nintendo_eshop", Name: "Nintendo eShop"},
		{ID: 10, SKU: "discord_game_store", Name: "Discord"}, {ID: 11, SKU: "oculus", Name: "Oculus"}, {ID: 12, SKU: "viveport", Name: "Viveport"},
		{ID: 13, SKU: "stadia", Name: "Stadia"}, {ID: 14, SKU: "rockstar", Name: "Rockstar Games"}, {ID: 15, SKU: "my_game", Name: "MY.GAMES"},
	}
}

func drmBySKU(sku string) (DRM, bool) {
	for _, drm := range DRMs() {
		if drm.SKU == sku {
			return drm, true
		}
	}
	return DRM{}, false
}
