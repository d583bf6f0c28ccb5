"""A small repo that uses every field of kustomize that names a file, and most that do not."""

from __future__ import annotations

from render.world import config_map

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: reg/web:1, env: [{name: REGION, value: none}]}
"""
_CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: plans.acme.example}
spec:
  group: acme.example
  scope: Cluster
  names: {kind: Plan, plural: plans, singular: plan}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""
_CRD_CONFIGURATION = """\
{"example.v1.Plan": {"Schema": {"description": "x", "properties": {"spec": {"$ref": "x"}}}}}
"""

FILES: dict[str, str] = {
    "app/kustomization.yaml": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
metadata: {name: everything}
namespace: shop
namePrefix: p-
nameSuffix: -s
commonAnnotations: {team: shop}
labels:
  - pairs: {tier: web}
resources: [../base, extra.yaml, more/list.yaml, ../crds/plan.yaml, plan.yaml]
components: [../components/facts]
crds: [crd.json]
configurations: [names.yaml]
patches:
  - path: patches/merge.yaml
  - path: patches/operations.yaml
    target: {kind: Deployment}
  - patch: |-
      - {op: add, path: /data/inline, value: "yes"}
    target: {kind: ConfigMap, name: extra}
patchesStrategicMerge:
  - patches/old.yaml
  - |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {minReadySeconds: 3}
patchesJson6902:
  - path: patches/old-operations.json
    target: {group: apps, version: v1, kind: Deployment, name: web}
replacements:
  - path: replacements.yaml
  - source: {kind: ConfigMap, name: extra, fieldPath: data.color}
    targets:
      - select: {kind: Deployment}
        fieldPaths: ["spec.template.spec.containers.[name=web].env.[name=REGION].value"]
configMapGenerator:
  - name: files
    files: [conf/app.conf, renamed=conf/other.conf]
    envs: [conf/app.env]
    literals: [a=b]
  - {name: old-env, env: conf/old.env}
secretGenerator:
  - {name: passwords, envs: [conf/secret.env], files: [conf/key.pem], literals: [x=y]}
generatorOptions: {labels: {generated: "yes"}}
images: [{name: reg/web, newTag: "2"}]
replicas: [{name: web, count: 2}]
transformers:
  - transformers/annotate.yaml
  - |-
    apiVersion: builtin
    kind: PatchTransformer
    metadata: {name: inline}
    path: transformers/patch.yaml
    target: {kind: Deployment}
generators: [generators/more.yaml]
validators: []
sortOptions: {order: fifo}
buildMetadata: [originAnnotations]
""",
    "app/extra.yaml": config_map("extra", color="blue"),
    "app/more/list.yaml": (
        "apiVersion: v1\nkind: List\nitems:\n"
        "  - {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}\n"
        "  - {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}\n"
    ),
    "app/plan.yaml": "apiVersion: acme.example/v1\nkind: Plan\nmetadata: {name: gold}\nspec: {size: 3}\n",
    "app/crd.json": _CRD_CONFIGURATION,
    "app/names.yaml": "nameReference:\n  - kind: ConfigMap\n    fieldSpecs: [{path: spec/config, kind: Plan}]\n",
    "app/patches/merge.yaml": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {revisionHistoryLimit: 2}\n"
    ),
    "app/patches/operations.yaml": "- {op: add, path: /spec/paused, value: false}\n",
    "app/patches/old.yaml": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {progressDeadlineSeconds: 99}\n"
    ),
    "app/patches/old-operations.json": '[{"op": "add", "path": "/metadata/labels", "value": {"old": "yes"}}]',
    "app/replacements.yaml": (
        "- source: {kind: ConfigMap, name: extra, fieldPath: metadata.namespace}\n"
        "  targets:\n"
        "    - select: {kind: Plan}\n"
        "      fieldPaths: [spec.where]\n"
        "      options: {create: true}\n"
    ),
    "app/conf/app.conf": "line\n",
    "app/conf/other.conf": "other\n",
    "app/conf/app.env": "A=1\n",
    "app/conf/old.env": "B=2\n",
    "app/conf/secret.env": "PASSWORD=hunter2hunter2\n",
    "app/conf/key.pem": "-----BEGIN-----\nsecretsecretsecret\n",
    "app/transformers/annotate.yaml": (
        "apiVersion: builtin\nkind: AnnotationsTransformer\nmetadata: {name: a}\nannotations: {by: transformer}\n"
        "fieldSpecs: [{path: metadata/annotations, create: true}]\n"
    ),
    "app/transformers/patch.yaml": "- {op: add, path: /spec/strategy, value: {type: Recreate}}\n",
    "app/generators/more.yaml": (
        "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: generated}\nfiles: [generators/text.txt]\n"
    ),
    "app/generators/text.txt": "text\n",
    "base/kustomization.yml": (
        "resources: [web.yaml]\nbases: [../deeper]\n"
        "vars:\n  - {name: NAME, objref: {kind: Deployment, name: web, apiVersion: apps/v1}}\n"
    ),
    "base/web.yaml": _DEPLOYMENT,
    "deeper/Kustomization": (
        "resources: [one.yaml]\ncommonLabels: {deep: 'yes'}\nimageTags: [{name: reg/x, newTag: '3'}]\n"
    ),
    "deeper/one.yaml": config_map("deep"),
    "crds/plan.yaml": _CRD,
    "components/facts/kustomization.yaml": (
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [from-component.yaml]\n"
    ),
    "components/facts/from-component.yaml": config_map("from-component"),
    "components/unused/kustomization.yaml": "kind: Component\nresources: [nothing.yaml]\n",
    "elsewhere/readme.md": "not part of it\n",
}
