"""Write the boards to grafana/dashboards."""

from grafana import written

for path, text in written().items():
    path.write_text(text, encoding="utf-8")
