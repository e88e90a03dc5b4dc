// Package eventpb is the protobuf form of events. The code is generated from event.proto, which is also published.
package eventpb

import _ "embed" // the definition

// File is event.proto.
//
//go:embed event.proto
var File []byte
