"""Write the boards and alerts where Grafana is shown them."""

from grafana import written

for path, text in written().items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
