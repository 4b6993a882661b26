"""Why an email is not made: a template that is wrong for everybody, or data that is missing for this one."""


class TemplateError(ValueError):
    """A template that cannot be used, in one line that begins with its place: `templates/x.mjml:12: ...`."""


class Hole(Exception):
    """A send that is refused, since the email would show a hole.

    `reason` says what is wrong with `variable`; neither carries what the data holds, so the line may be logged.
    """

    def __init__(self, template: str, variable: str, reason: str) -> None:
        super().__init__(f"{template}: {variable} {reason}")
        self.template, self.variable, self.reason = template, variable, reason
