// Prints, for all kinds of the built-in schemes, how Go encodes their types: JSON name, pointer, omitempty, omitzero.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	apireg "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

type field struct {
	Name, Type, Elem         string
	Pointer, Empty, Zero, ElemPointer bool
}

var types = map[string][]field{}

func name(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	host := strings.Split(parts[0], ".")
	for i, j := 0, len(host)-1; i < j; i, j = i+1, j-1 {
		host[i], host[j] = host[j], host[i]
	}
	return strings.Join(append(host, parts[1:]...), ".") + "." + t.Name()
}

var special = map[string]string{"Quantity": "quantity", "IntOrString": "intstr", "Time": "time", "MicroTime": "microtime", "RawExtension": "any", "FieldsV1": "any", "JSON": "any", "Duration": "duration", "JSONSchemaPropsOrBool": "any", "JSONSchemaPropsOrArray": "any", "JSONSchemaPropsOrStringArray": "any"}

func spell(t reflect.Type) string {
	if s, ok := special[t.Name()]; ok && t.PkgPath() != "" {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return spell(t.Elem())
	case reflect.Struct:
		walk(t)
		return "#" + name(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "list:" + spell(t.Elem())
	case reflect.Map:
		return "map:" + spell(t.Elem())
	case reflect.Interface:
		return "any"
	}
	return t.Kind().String()
}

func walk(t reflect.Type) {
	n := name(t)
	if _, ok := types[n]; ok {
		return
	}
	types[n] = nil
	types[n] = fields(t)
}

func fields(t reflect.Type) (out []field) {
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("json")
		if !ok || strings.HasPrefix(tag, "-") || !f.IsExported() {
			continue
		}
		parts := strings.Split(tag, ",")
		opts := strings.Join(parts[1:], ",")
		if parts[0] == "" || strings.Contains(opts, "inline") {
			ft := f.Type
			if ft.Kind() == reflect.Pointer { ft = ft.Elem() }
			out = append(out, fields(ft)...)
			continue
		}
		out = append(out, field{Name: parts[0], Type: spell(f.Type), Pointer: f.Type.Kind() == reflect.Pointer, Empty: strings.Contains(opts, "omitempty"), Zero: strings.Contains(opts, "omitzero")})
	}
	return
}

func main() {
	kinds := map[string]string{}
	s := scheme.Scheme
	_ = apiext.AddToScheme(s)
	_ = apireg.AddToScheme(s)
	for gvk, t := range s.AllKnownTypes() {
		if strings.HasSuffix(gvk.Kind, "List") || gvk.Version == runtime.APIVersionInternal || strings.HasSuffix(gvk.Kind,"Options") || gvk.Kind=="WatchEvent" {
			continue
		}
		kinds[gvk.Group+"/"+gvk.Version+"/"+gvk.Kind] = spell(t)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"kinds": kinds, "types": types})
}
