package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/postgres"
)

func migrateCommand(with withConfig) *cobra.Command {
	return &cobra.Command{Use: "migrate", Short: "Bring the database schema to this version", Args: cobra.NoArgs,
		RunE: with(func(ctx context.Context, c config.Config) error {
			steps, err := postgres.Migrate(ctx, c.Database.URL)
			if err != nil {
				return err
			}
			fmt.Printf("the schema is current, %d steps were applied\n", steps)
			return nil
		}, needsDatabase)}
}
