"""Reads metrics from standard input with Prometheus' own parsers, and prints the samples as JSON: {"name{label=value,...}": number}.

metrics.py prometheus|openmetrics
"""
import json
import sys

if sys.argv[1] == 'openmetrics':
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families

samples = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    if not family.documentation:
        sys.exit(f'{family.name} has no help')
    for sample in family.samples:
        labels = ','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))
        key = f'{sample.name}{{{labels}}}' if labels else sample.name
        if key in samples:
            sys.exit(f'{key} is there twice')
        samples[key] = sample.value
print(json.dumps(samples))
