package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/xid"
	"github.com/spf13/cobra"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/postgres"
)

var keyRoles = []string{"storefront", "main_product", "distributor", "admin", "support"}

// keyCommand makes the first keys of an installation; they are stored hashed and shown once.
func keyCommand(with withConfig) *cobra.Command {
	var role string
	var project int32
	roles := append(slices.Clone(keyRoles), "server") // of /api/v2, with Basic project:key
	create := &cobra.Command{Use: "create", Short: "Make an API key and print it, once", Args: cobra.NoArgs,
		RunE: with(func(ctx context.Context, c config.Config) error {
			if !slices.Contains(roles, role) {
				return errors.New("--role must be one of " + strings.Join(roles, ", "))
			}
			key := "qpk_" + rand.Text()
			hash := sha256.Sum256([]byte(key))
			id := "key_" + xid.New().String()
			return withDB(ctx, c, func(db *postgres.DB) error {
				if err := db.PutAPIKey(ctx, postgres.APIKey{KeyID: id, ProjectID: project, Role: role}, hash[:], time.Now()); err != nil {
					return err
				}
				fmt.Printf("%s (%s): %s\nIt is stored hashed and not shown again.\n", id, role, key)
				return nil
			})
		}, needsDatabase)}
	create.Flags().StringVar(&role, "role", "", "one of "+strings.Join(roles, ", "))
	create.Flags().Int32Var(&project, "project", 1, "the project that the key works on")
	command := &cobra.Command{Use: "key", Short: "Manage API keys"}
	command.AddCommand(create)
	return command
}
