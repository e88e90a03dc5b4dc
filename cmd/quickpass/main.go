// Command quickpass is the one binary: the API, the worker, both in one process, the development stack
// and the tools around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quickpass/quickpass/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "quickpass:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:           "quickpass",
		Short:         "QuickPass sells what other products own",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	command.PersistentFlags().StringVar(&file, "config", "", "settings file (default: quickpass.yaml if it exists)")
	// withConfig gives a command the settings, or stops it with every mistake in them.
	withConfig := func(run func(context.Context, config.Config) error, checks ...func(config.Config) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(file, checks...)
			if err != nil {
				return fmt.Errorf("wrong settings:\n%w", err)
			}
			return run(cmd.Context(), c)
		}
	}
	command.AddCommand(devCommand(withConfig), migrateCommand(withConfig), verifyCommand(withConfig), projectCommand(withConfig), keyCommand(withConfig), tokenCommand(), versionCommand())
	command.AddCommand(serveCommands(withConfig)...)
	return command
}

type withConfig = func(run func(context.Context, config.Config) error, checks ...func(config.Config) error) func(*cobra.Command, []string) error

// needsDatabase names the setting that nearly every command can't do without.
func needsDatabase(c config.Config) error {
	if c.Database.URL == "" {
		return errors.New("QUICKPASS_DATABASE_URL must be set, such as postgres://user:password@host:5432/quickpass; `quickpass dev` prints its own")
	}
	return nil
}

func newLogger(c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // the settings were checked
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}
