package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// fill replaces `{{.name}}` in each string of a connection by the value of that name, which must exist.
//
// It omits empty strings, because the peer accepts no empty duration, and TLS fields unless TLS is required.
func fill(connection []byte, values string) ([]byte, error) {
	var fields, given map[string]any
	if err := json.Unmarshal(connection, &fields); err != nil {
		return nil, err
	}
	if values != "" {
		if err := json.Unmarshal([]byte(values), &given); err != nil {
			return nil, fmt.Errorf("%s: %w", valuesVariable, err)
		}
	}
	if fields["tls_required"] != true {
		for _, name := range []string{"client_auth_required", "client_key", "client_cert", "root_cert"} {
			delete(fields, name)
		}
	}
	for name, field := range fields {
		text, isText := field.(string)
		if !isText {
			continue
		}
		filled, err := fillText(text, given)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if filled == "" {
			delete(fields, name)
			continue
		}
		fields[name] = filled
	}
	if _, isText := fields["address"].(string); !isText {
		return nil, errors.New("no address: set it in the package")
	}
	return json.Marshal(fields)
}

func fillText(text string, values map[string]any) (string, error) {
	parsed, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var filled strings.Builder
	if err := parsed.Execute(&filled, values); err != nil {
		return "", err
	}
	return filled.String(), nil
}
