// Prints the definitions of kustomize's own built-in OpenAPI schema as JSON; input of make_slim.py.
package main

import (
	"encoding/json"
	"os"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/kustomize/kyaml/openapi/kubernetesapi"
)

func main() {
	version := kubernetesapi.DefaultOpenAPI
	asset := "kubernetesapi/" + strings.ReplaceAll(version, ".", "_") + "/swagger.pb"
	document := &openapi_v2.Document{}
	if err := proto.Unmarshal(kubernetesapi.OpenAPIMustAsset[version](asset), document); err != nil {
		panic(err)
	}
	var swagger spec.Swagger
	if _, err := swagger.FromGnostic(document); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(swagger.Definitions); err != nil {
		panic(err)
	}
}
