package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/postgres"
)

// maxProjectName is what a name may have of characters, here as in PATCH /api/v1/admin/projects/{id}.
const maxProjectName = 200

// projectCommand is for operators: whoever has a key of one project must not be able to make another.
func projectCommand(with withConfig) *cobra.Command {
	var name string
	var id int32
	create := &cobra.Command{Use: "create", Short: "Add a project and print its id", Args: cobra.NoArgs,
		RunE: with(func(ctx context.Context, c config.Config) error {
			if name = strings.TrimSpace(name); name == "" || len([]rune(name)) > maxProjectName || id < 0 {
				return fmt.Errorf("--name must have 1 to %d characters, --id be above 0", maxProjectName)
			}
			return withDB(ctx, c, func(db *postgres.DB) error {
				created, err := db.CreateProject(ctx, id, name, "quickpass project create", time.Now())
				if errors.Is(err, postgres.ErrConflict) {
					return errors.New("the id is taken; `quickpass project list` tells by whom")
				}
				if err == nil {
					fmt.Printf("project %d: %s\nIts first keys: quickpass key create --project %d --role admin (of /api/v1), --role server (of /api/v2)\n", created, name, created)
				}
				return err
			})
		}, needsDatabase)}
	create.Flags().StringVar(&name, "name", "", "what it is called")
	create.Flags().Int32Var(&id, "id", 0, "its id; the next one when it is left out")
	list := &cobra.Command{Use: "list", Short: "List all projects", Args: cobra.NoArgs,
		RunE: with(func(ctx context.Context, c config.Config) error {
			return withDB(ctx, c, func(db *postgres.DB) error {
				projects, err := db.ListProjects(ctx)
				if err != nil {
					return err
				}
				table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
				for _, p := range projects {
					fmt.Fprintf(table, "%d\t%s\n", p.ProjectID, p.Name)
				}
				return table.Flush()
			})
		}, needsDatabase)}
	command := &cobra.Command{Use: "project", Short: "Manage projects"}
	command.AddCommand(create, list)
	return command
}

// withDB does something with the database, by two connections at most.
func withDB(ctx context.Context, c config.Config, do func(*postgres.DB) error) error {
	db, err := postgres.Open(ctx, postgres.Options{URL: c.Database.URL, MaxConnections: 2, StatementTimeout: c.Database.StatementTimeout})
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}
