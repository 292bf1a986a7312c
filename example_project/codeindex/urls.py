"""The app's addresses."""

from django.urls import path

from . import views

app_name = "codeindex"
urlpatterns = [
    path("", views.search, name="search"),
    path("outline/", views.outline, name="outline"),
    path("unparsed/", views.unparsed, name="unparsed"),
]
