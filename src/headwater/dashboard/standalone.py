"""An overview as one HTML file that can be mailed: style inside, no script, no link that leads nowhere; below 200 kB."""

from markupsafe import Markup

from headwater.dashboard.environment import environment, static_files
from headwater.dashboard.links import Links
from headwater.dashboard.pages import overview_values
from headwater.report.numbers import Document


def standalone(overview_document: Document) -> str:
    """The whole file as text. Its size grows with stages (about 4 kB each), not with traces."""
    links = Links(standalone=True)
    css = Markup(static_files()["headwater.css"][0].decode("utf-8"))  # noqa: S704 - our own file; it holds no "</style"
    values = overview_values(overview_document, links, path="/")
    return environment().get_template("standalone.html").render(links=links, css=css, **values)
