package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"
)

// tokenCommand prints a token of a user of `quickpass dev`, as the login of a project would make it.
func tokenCommand() *cobra.Command {
	var user string
	var project int32
	var valid time.Duration
	command := &cobra.Command{Use: "token", Short: "Print a user's token for /api/v2 of `quickpass dev`", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user == "" || project <= 0 || valid <= 0 {
				return errors.New("--user is needed; --project and --valid are above 0")
			}
			token, err := devToken(user, project, time.Now().Add(valid))
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			}
			return err
		}}
	command.Flags().StringVar(&user, "user", "", "the user's id, such as 12345")
	command.Flags().Int32Var(&project, "project", demoProject, "the user's project")
	command.Flags().DurationVar(&valid, "valid", 24*time.Hour, "until it expires")
	return command
}

func devToken(user string, project int32, until time.Time) (string, error) {
	claims := jwt.MapClaims{"sub": user, "exp": until.Unix(), "iat": time.Now().Unix(), "project_id": project}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(devJWTSecret))
}
